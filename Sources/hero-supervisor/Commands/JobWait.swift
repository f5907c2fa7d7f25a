import ArgumentParser
import EventLoop
import Glibc
import JSONRPC
import Synchronization

/// Waiting for a job: the call that answers with its result, a progress line beside it, Ctrl-C, and the end of the
/// program as the job ended.
struct JobWait {
  let node: NodeConnection
  let id: String
  let printsJSON: Bool
  let stopsOnInterrupt: Bool

  /// Makes the call, prints the result, and throws the exit status of a job that did not complete.
  func run(_ method: String, _ params: JSON) async throws {
    let interrupt = Interrupt(job: id, node: node, stopsJob: stopsOnInterrupt)
    await interrupt.install()
    let progress = StandardStreams.errorIsTerminal ? Task { [id, node] in await Self.showProgress(of: id, node) } : nil
    let result: JSON
    do throws(CommandFailure) { result = try await node.call(method, params) } catch {
      progress?.cancel()
      await progress?.value
      if error.code == Self.responseTooBig { return try await printLongOutput(error) }
      throw error.status == .unreachable ? withWayBack(error) : error
    }
    progress?.cancel()
    await progress?.value
    try await end(result, after: interrupt.signal)
  }

  /// - Parameter signal: the one that had the job stopped, if one did.
  private func end(_ result: JSON, after signal: Int32?) async throws {
    if case .string(let output)? = result["success"] {
      if printsJSON {
        printJSON(status: "completed", key: "success", output)
      } else {
        StandardStreams.out(try await exactBytes(output))
      }
      return
    }
    guard case .string(let error)? = result["error"] else { throw CommandFailure.unexpected("the job", result) }
    let answer: JSON? = try? await node.call("job.status", ["job_id": .string(id)])
    let status = answer?["status"]?.cell ?? "failed"
    if printsJSON {
      printJSON(status: status, key: "error", error)
    } else {
      // What it wrote before it failed says more than its end.
      await printOutput()
      let text = status == "timeout" ? "job \(id) ran into its timeout: \(error)" : "job \(id) failed: \(error)"
      StandardStreams.error("hero-supervisor: \(text.printableBelow)\n")
    }
    if let signal { throw ExitCode(128 + signal) }
    throw ExitCode((status == "timeout" ? ExitStatus.timeout : .failed).rawValue)
  }

  /// Prints what the job wrote to standard output, as far as the node still has it.
  private func printOutput() async {
    var log = JobLogStream(job: id, name: "stdout")
    while !log.isAtEnd {
      guard let bytes = try? await log.next(from: node), !bytes.isEmpty || log.isAtEnd else { return }
      StandardStreams.out(bytes)
    }
  }

  /// The code of an answer that exceeds `max_response_bytes`.
  private static let responseTooBig = -32008

  /// Fetches an output piece by piece that is too long for one answer.
  private func printLongOutput(_ refusal: CommandFailure) async throws {
    let status = try await node.call("job.status", ["job_id": .string(id)])["status"]
    guard status == "completed", !printsJSON else { throw refusal }
    var log = JobLogStream(job: id, name: "stdout")
    while !log.isAtEnd { StandardStreams.out(try await log.next(from: node)) }
  }

  /// The user may not know the job's id, which the program chose.
  private func withWayBack(_ failure: CommandFailure) -> CommandFailure {
    var failure = failure
    if !failure.message.hasPrefix("cannot reach") {
      failure.hints.append("once a node is back, `hero-supervisor job result \(id)` waits for the job again")
    }
    return failure
  }

  /// The output as the job wrote it. A result is text; where it holds replacement characters, the job may have written
  /// bytes that are none, which `job.logs` still has.
  private func exactBytes(_ output: String) async throws -> [UInt8] {
    let text = Array(output.utf8)
    guard output.unicodeScalars.contains("\u{FFFD}") else { return text }
    var log = JobLogStream(job: id, name: "stdout")
    var bytes: [UInt8] = []
    repeat {
      guard let next = try? await log.next(from: node), !next.isEmpty || log.isAtEnd else { return text }
      bytes += next
    } while !log.isAtEnd
    return log.dropped == 0 ? bytes : text
  }

  private func printJSON(status: String, key: String, _ value: String) {
    StandardStreams.out(
      JSON.object(["job_id": .string(id), "status": .string(status), key: .string(value)]).pretty())
  }

  /// Redraws the line ten times a second and asks for the job's status once a second.
  private static func showProgress(of id: String, _ node: NodeConnection) async {
    var line = ProgressLine()
    let clock = ContinuousClock()
    let start = clock.now
    var status = "starting"
    var asked = start
    // A job that ends at once needs no line.
    try? await Task.sleep(for: .milliseconds(300))
    while !Task.isCancelled {
      if status == "starting" || asked.duration(to: clock.now) > .seconds(1) {
        asked = clock.now
        let answer: JSON? = try? await node.call("job.status", ["job_id": .string(id)], timeout: .seconds(2))
        status = answer?["status"]?.cell ?? status
        if Task.isCancelled { break }
      }
      line.show("job \(id): \(status), \(ProgressLine.elapsed(start.duration(to: clock.now)))")
      try? await Task.sleep(for: .milliseconds(100))
    }
    line.clear()
  }
}

/// Signals while a job is waited for. Ctrl-C stops waiting; with `--stop-on-interrupt` it stops the job, and so do the
/// signals by which a terminal that is closed or a service manager ends a program. The second ends the program at once.
private final class Interrupt: Sendable {
  private let job: String
  private let node: NodeConnection
  private let stopsJob: Bool
  /// The first; 0 while there was none.
  private let first = Atomic<Int32>(0)

  init(job: String, node: NodeConnection, stopsJob: Bool) {
    self.job = job
    self.node = node
    self.stopsJob = stopsJob
  }

  var signal: Int32? {
    let signal = first.load(ordering: .relaxed)
    return signal == 0 ? nil : signal
  }

  func install() async {
    for signal in stopsJob ? [SIGINT, SIGTERM, SIGHUP] : [SIGINT] {
      await node.onSignal(signal) { self.interrupted(signal) }
    }
  }

  private func interrupted(_ signal: Int32) {
    let isFirst = first.compareExchange(expected: 0, desired: signal, ordering: .relaxed).exchanged
    if StandardStreams.errorIsTerminal { StandardStreams.error(Array("\r\(ProgressLine.wipe)".utf8)) }
    guard isFirst, stopsJob else {
      StandardStreams.error(
        CommandFailure(
          message: "stopped waiting; the job goes on",
          hints: [
            "look at it with `hero-supervisor job status \(job)`",
            "wait for it with `hero-supervisor job result \(job)`",
            "stop it with `hero-supervisor job stop \(job)`",
          ], status: .interrupted
        ).rendered)
      exit(128 + signal)
    }
    StandardStreams.error("hero-supervisor: stopping the job; Ctrl-C again to stop waiting\n")
    let job = job
    let node = node
    Task {
      do throws(CommandFailure) { _ = try await node.call("job.stop", ["job_id": .string(job)]) } catch {
        StandardStreams.error(error.rendered)
        exit(128 + signal)
      }
    }
  }
}
