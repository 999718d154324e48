"""Serves an export on this machine, as a page to drop images on."""

import socket

from absl import logging

from tf_simclr import interruption, shipped
from tf_simclr.errors import UsageError
from tf_simclr.export.load import is_export
from tf_simclr.stages import setup

_CONNECTIONS = 64  # at once
_LAST_SECONDS = 3  # for answers that are being given when it is to stop


def run(config, data=None):
    """Serves the export that `--from` names, or that of the run that it names, on 127.0.0.1 until SIGINT or SIGTERM, its normal end.

    The page's address is printed once it can be opened. Training images to compare with are `data`, those that `--dataset` or `--data_dir`
    name, or else the run's, where they still are.

    Returns:
      dict: address.
    """
    try:
        import uvicorn

        from tf_simclr.demo import app
    except ModuleNotFoundError as error:
        raise UsageError(f"--stage=demo needs {error.name}, which is not installed; pip install fastapi uvicorn") from error
    from tf_simclr.demo.model import Model

    directory, parent = _find_export(config)
    setup.check_export(config, directory)
    with _listen(app.HOST, config.port) as listening:  # first, since what follows may take a while
        model = Model(directory, _images(config, data, parent), config.seed, config.eval_batch_size)
        settings = uvicorn.Config(
            app.make_app(model),
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
        server = uvicorn.Server(settings)

        def stop():
            server.should_exit = True

        address = f"http://{app.HOST}:{listening.getsockname()[1]}"
        with interruption.handed_to(stop):
            print(address, flush=True)
            logging.info("serving %s; Ctrl-C ends it", directory)
            server.run(sockets=[listening])
    return {"address": address}


def _find_export(config):
    """The export's directory, and the run that it is of, or None where it was named itself."""
    if not config.from_run:
        raise UsageError("--stage=demo needs --from, an export or a run that was exported, got none")
    path = shipped.locate(config.from_run)
    if is_export(path):
        return path, None
    parent = setup.parent_of(config)
    if not is_export(parent.export):
        raise UsageError(
            f"--stage=demo needs an export, but the run {parent.path} has none; run tf-simclr --stage=export --from={parent.path} first"
        )
    return parent.export, parent


def _images(config, given, parent):
    """The training images to compare with, a `Source`, or None. Those of a run may be elsewhere by now, which only the log has to know."""
    asked = given is not None or config.data.dataset or config.data.data_dir
    if not asked and parent is None:
        return None
    try:
        return setup.find_data(setup.with_data_of(config, parent, given), given).train
    except UsageError as error:
        if asked:
            raise
        logging.warning("no nearest training images: %s", error)
        return None


def _listen(host, port):
    """A socket that listens on that port, or on any free one for 0; who asks already waits."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # not later, as until then another process could bind it as well
    except OSError as error:
        listening.close()
        raise UsageError(f"--port must be one that is free, got {port} ({error.strerror}); give another one, or 0 for any") from error
    return listening
