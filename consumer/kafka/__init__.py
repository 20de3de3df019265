"""Everything private to Faust and aiokafka: the transport and the consumer's thread."""
