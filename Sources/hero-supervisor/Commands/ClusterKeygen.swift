import ArgumentParser
import JSONRPC

/// `hero-supervisor cluster keygen`: a new key for `cluster.keys`. It asks no node.
struct ClusterKeygen: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keygen", abstract: "Make a key for cluster.keys.",
    discussion: """
      Prints 256 random bits as 64 hexadecimal digits, or puts them at the end of
      a file of keys. The first key of a file seals what a node sends, all of them
      open what it gets; so a key that only this file has must not be the first
      yet. Changing a key without a pause: docs/operations.md.

      EXAMPLES
        hero-supervisor cluster keygen
        hero-supervisor cluster keygen --file /etc/hero-supervisor/gossip.keys
      """)

  @Option(
    help: ArgumentHelp("A file of keys: made for its owner alone (0600), or added to.", valueName: "file"),
    completion: .file())
  var file: String?

  @Flag(help: "Print JSON.") var json = false

  func run() throws {
    let key = ClusterKey.random()
    guard let file else {
      return StandardStreams.out(json ? JSON.object(["key": .string(key.written())]).pretty() : key.written() + "\n")
    }
    let count: Int
    do throws(ClusterKeyFile.Failure) { count = try ClusterKeyFile.add(key, to: file) } catch {
      throw CommandFailure(message: "\(file): \(error.reason)", status: error.isOfUsage ? .usage : .failed)
    }
    if json {
      let answer: JSON = ["file": .string(file), "keys": .int(Int64(count))]
      return StandardStreams.out(answer.pretty())
    }
    StandardStreams.out(count == 1 ? "wrote a key to \(file)\n" : "added a key to \(file), which has \(count) now\n")
  }
}
