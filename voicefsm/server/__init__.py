"""The gRPC face of the engine: protobuf in, protobuf out, one session per call."""
