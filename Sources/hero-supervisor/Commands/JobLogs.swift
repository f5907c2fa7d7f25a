import ArgumentParser
import JSONRPC

/// `hero-supervisor job logs`: what a job wrote, each stream to its own.
struct JobLogs: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logs", abstract: "Print what a job wrote to standard output and standard error.",
    discussion: """
      What the job wrote to standard error goes to standard error. A job that is
      queued again after the loss of its node begins its output anew: with
      --follow a line on standard error says so.

      EXAMPLES
        hero-supervisor job logs backup-1
        hero-supervisor job logs backup-1 --follow
        hero-supervisor job logs backup-1 --stream stderr
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The job.", completion: .jobID) var id: String
  @Flag(name: .shortAndLong, help: "Go on until the job has ended.") var follow = false

  @Option(help: "Only stdout or only stderr.", completion: .list(["stdout", "stderr"]))
  var stream: String?

  func validate() throws {
    if let stream, stream != "stdout", stream != "stderr" { throw ValidationError("--stream is stdout or stderr") }
  }

  func run() async throws {
    let node = try NodeConnection.open(client)
    var logs = [JobLogStream(job: id, name: "stdout"), JobLogStream(job: id, name: "stderr")]
    logs.removeAll { stream != nil && $0.name != stream }
    var attempt: Int64 = 0
    while true {
      var isIdle = true
      for index in logs.indices where !logs[index].isAtEnd {
        let bytes = try await logs[index].next(from: node)
        if logs[index].attempt > attempt {
          if attempt > 0 { sayAgain(logs[index].attempt) }
          attempt = logs[index].attempt
        }
        if bytes.isEmpty { continue }
        isIdle = false
        print(bytes, logs[index].name)
      }
      if logs.allSatisfy(\.isAtEnd) { break }
      guard isIdle else { continue }
      if !follow { break }
      try await Task.sleep(for: .milliseconds(200))
    }
    for log in logs where log.dropped > 0 {
      StandardStreams.error("\n(\(log.dropped) more bytes of \(log.name) were not kept: jobs.max_output_bytes)\n")
    }
  }

  private func sayAgain(_ attempt: Int64) {
    if client.json {
      StandardStreams.out(JSON.object(["attempt": .int(attempt)]).text + "\n")
    } else {
      StandardStreams.error(
        "hero-supervisor: job \(id) was started again (attempt \(attempt)); its output begins anew\n")
    }
  }

  private func print(_ bytes: [UInt8], _ stream: String) {
    if client.json {
      let line: JSON = ["stream": .string(stream), "data": .string(String(decoding: bytes, as: UTF8.self))]
      StandardStreams.out(line.text + "\n")
    } else if stream == "stdout" {
      StandardStreams.out(bytes)
    } else {
      StandardStreams.error(bytes)
    }
  }
}

/// One stream of a job, read piece by piece by `job.logs`.
struct JobLogStream {
  let job: String
  let name: String
  private var offset: Int64 = 0
  private(set) var isAtEnd = false
  /// Which attempt of the job wrote it; 0 before the first.
  private(set) var attempt: Int64 = 0
  /// Bytes that the node did not keep.
  private(set) var dropped: Int64 = 0

  init(job: String, name: String) {
    self.job = job
    self.name = name
  }

  /// The next bytes; none when there are none yet, or when the stream is at its end.
  ///
  /// A new attempt is read from its beginning.
  mutating func next(from node: NodeConnection) async throws(CommandFailure) -> [UInt8] {
    var answer = try await part(from: node)
    if let now = answer["attempt"]?.intValue, now != attempt {
      attempt = now
      if offset > 0 {
        offset = 0
        answer = try await part(from: node)
      }
    }
    guard case .string(let data)? = answer["data"] else { throw .unexpected("job.logs", answer) }
    let isEncoded = answer["encoding"] == .string("base64")
    guard let bytes = isEncoded ? Base64.decode(data) : Array(data.utf8) else { throw .unexpected("job.logs", answer) }
    offset = answer["offset"]?.intValue ?? offset + Int64(bytes.count)
    isAtEnd = answer["eof"] == .bool(true)
    if case .int(let count)? = answer["dropped"] { dropped = count }
    return bytes
  }

  private func part(from node: NodeConnection) async throws(CommandFailure) -> JSON {
    try await node.call(
      "job.logs",
      ["job_id": .string(job), "stream": .string(name), "offset": .int(offset), "limit": .int(1 << 18)])
  }
}
