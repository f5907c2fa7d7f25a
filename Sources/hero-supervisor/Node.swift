/// A stand-in until the composition root lands.
enum Node {
  static func run(_ configuration: Configuration) async throws {
    throw CommandFailure(message: "the node is not built yet", status: .failed)
  }
}
