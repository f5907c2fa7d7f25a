import ArgumentParser
import Glibc
import JSONRPC

/// `hero-supervisor rpc`: any method, for what the other commands do not cover.
struct RPCCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rpc", abstract: "Call any method of the API.",
    discussion: """
      Prints the result as JSON. An error of the node goes to standard error, with
      exit status 4.

      EXAMPLES
        hero-supervisor rpc rpc.discover
        hero-supervisor rpc job.status '["job-1"]'
        hero-supervisor rpc jobs.query '{"status": "failed", "limit": 10}' | jq .jobs
        echo '{"actor_id": "default"}' | hero-supervisor rpc start_runner -
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The method, such as job.status.") var method: String
  @Argument(help: "Its params, a JSON array or object; - reads them from standard input.") var params: String = "[]"

  func run() async throws {
    let answer = try await NodeConnection.open(client).answer(to: method, try parsedParams())
    StandardStreams.out(answer.warningOfMissing().result.pretty())
  }

  private func parsedParams() throws(CommandFailure) -> JSON {
    var bytes = Array(params.utf8)
    if params == "-" {
      do throws(FileBytes.Failure) {
        bytes = try FileBytes.readAll(STDIN_FILENO, named: "standard input")
      } catch {
        throw CommandFailure(message: "cannot read standard input: \(error.reason)", status: .failed)
      }
    }
    let json: JSON
    do throws(JSONParseError) { json = try JSON.parse(bytes) } catch {
      throw CommandFailure(
        message: "the params are not JSON: \(error)",
        hints: ["write them like '[\"job-1\"]' or '{\"job_id\": \"job-1\"}'"],
        status: .usage)
    }
    switch json {
    case .array, .object: return json
    default: throw CommandFailure(message: "the params must be a JSON array or object", status: .usage)
    }
  }
}
