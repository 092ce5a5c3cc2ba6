"""Who speaks when: voice activity, the gate across stems, diarization, gated stems."""
