"""What is learned: structure encoders, fusion, the whole network."""
