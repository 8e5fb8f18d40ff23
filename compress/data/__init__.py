"""What is learned from and reported on: questions, texts, uploads, and what identifies them."""
