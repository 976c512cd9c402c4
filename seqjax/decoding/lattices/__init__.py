"""Search and draws over lattices: CTC, transducer, CRF."""
