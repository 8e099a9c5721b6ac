"""What comes in now: pulled, looked at, recorded, and put into the same lake."""
