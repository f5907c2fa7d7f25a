import ArgumentParser
import JSONRPC

struct StoreConfirmClock: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "confirm-clock", abstract: "Say that a node's clock is right after it has leapt.",
    discussion: """
      A node with a SQLite store warns when the date differs by more than an hour
      from what the store expected: the clock was set, or the machine was off. It
      stops warning by itself when the date was steady for a day. No job is older
      for it, and none is deleted. Asks the node at the endpoint, and needs an admin
      key.

      EXAMPLES
        hero-supervisor store confirm-clock
      """)

  @OptionGroup var client: ClientOptions

  func run() async throws {
    let result = try await NodeConnection.open(client).call("store.confirm_clock", [:])
    if client.json { return StandardStreams.out(result.pretty()) }
    let seconds = result["confirmed_seconds"]?.intValue ?? 0
    StandardStreams.out(seconds == 0 ? "the clock was not in doubt\n" : "confirmed a leap of \(seconds) s\n")
  }
}
