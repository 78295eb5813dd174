"""What tools/record.py records: one module for each file in src/qlearn/recordings."""
