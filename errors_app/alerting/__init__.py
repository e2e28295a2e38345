"""What if nobody is looking: rules that look, alerts that they raise, notices to people."""
