"""What does truncated backpropagation learn of a past that lies beyond its windows?"""
