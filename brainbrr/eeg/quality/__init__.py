"""What is wrong with a recording's samples: evidence, rules, findings."""
