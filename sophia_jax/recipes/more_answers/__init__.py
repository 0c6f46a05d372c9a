"""What more answers to a question bring, chosen by good and bad judges: a real run."""
