"""Does a discriminator of its behaviour teach a model to behave alike when nobody corrects it?"""
