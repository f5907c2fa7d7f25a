import EventLoop
import Glibc
import JSONRPC
import SupervisorClient

/// The command line's way to a node: a client of `SupervisorClient` on a loop of its own, whose errors are said the way
/// a person at a prompt needs them. It lasts as long as the program.
struct NodeConnection: Sendable {
  private let loop: EventLoop
  private let client: SupervisorClient
  private let endpoints: [Endpoint]
  private let hasKey: Bool

  /// Prepares the connection; nothing is sent before the first call.
  static func open(_ options: ClientOptions) throws(CommandFailure) -> NodeConnection {
    let environment = processEnvironment()
    var endpoints: [Endpoint] = []
    for text in options.endpoints(environment) {
      do throws(EndpointError) { endpoints.append(try Endpoint(parsing: text)) } catch {
        throw CommandFailure(message: "\(error)", status: .usage)
      }
    }
    let directory = DataDirectory.absolute(DataDirectory.standard(environment: environment))
    let provesNode = endpoints.allSatisfy { endpoint in
      endpoint.socket.map { AdminSecretFile.isOfOwner(ofSocket: $0, in: directory) } ?? false
    }
    let secret = try options.secret(environment, provesNode: provesNode)
    let tls = try options.tls(environment, endpoints)
    let loop: EventLoop
    do throws(UVError) { loop = try EventLoop(name: "hero-client") } catch {
      throw CommandFailure(message: "cannot make an event loop: \(error.message)", status: .failed)
    }
    loop.start()
    let client = SupervisorClient(endpoints: endpoints, secret: secret?.reveal(), tls: tls, loop: loop) { notice in
      let start = StandardStreams.errorIsTerminal ? "\r\(ProgressLine.wipe)" : ""
      StandardStreams.error(Array("\(start)warning: \("\(notice)".printable())\n".utf8))
    }
    return NodeConnection(loop: loop, client: client, endpoints: endpoints, hasKey: secret != nil)
  }

  /// Calls a method; several calls may be under way. Without a timeout it waits as long as it takes.
  func call(_ method: String, _ params: JSON, timeout: Duration? = nil) async throws(CommandFailure) -> JSON {
    try await answer(to: method, params, timeout: timeout).result
  }

  /// As `call`, with the members that an answer about the whole cluster is missing.
  func answer(
    to method: String, _ params: JSON, timeout: Duration? = nil
  ) async throws(CommandFailure) -> SupervisorClient.Answer {
    do throws(ClientError) { return try await client.answer(to: method, params, timeout: timeout) } catch {
      throw CommandFailure(error, calling: method, endpoints: endpoints.map { "\($0)" }, hasKey: hasKey)
    }
  }

  /// Has a signal call `handler`, on the loop, instead of ending the program. One that is ignored, as SIGHUP is under
  /// nohup(1), stays so.
  func onSignal(_ signal: Int32, _ handler: @escaping @Sendable () -> Void) async {
    var action = sigaction()
    sigaction(signal, nil, &action)
    guard unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) != Self.ignored else { return }
    await withCheckedContinuation { continuation in
      loop.execute { [loop] in
        // The loop keeps the source alive; it lasts as long as the program. Without it the signal ends the program as ever.
        _ = try? SignalSource(signal, on: loop, handler)
        continuation.resume()
      }
    }
  }

  /// SIG_IGN (signal(7)), which is a number in place of a function.
  private static let ignored = 1
}
