"""Is a Phased LSTM better than every LSTM where samples come at random times?"""
