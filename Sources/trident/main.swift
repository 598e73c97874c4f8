print("trident")
