"""Which frames of a video are samples: a class for each rule, and exact arithmetic, the same however a video is cut."""
