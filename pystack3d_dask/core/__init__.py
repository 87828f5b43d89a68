"""Steps, chains and plans: what is declared and planned, without pixels or files."""
