"""Update rules, learning-rate schedules, and masks by layer role."""
