print("trident-quantize")
