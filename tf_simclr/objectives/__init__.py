"""What is minimised: NT-Xent, cross-entropy on labels, distillation. All in float32."""
