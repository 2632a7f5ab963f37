"""The chat endpoint over gRPC (extra `grpc`): `tierwise.proto` is the contract, `make proto` generates the stubs."""
