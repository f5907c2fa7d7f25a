import Supervisor
import Testing

// What clients and jobs write comes back byte for byte.

extension StoreCheck {
  private static let everyByte = (0...255).map { UInt8($0) }
  private static let text = "\u{0}a\u{0}\u{0}b\r\n\t\u{7F}\u{FEFF}é e\u{301} 日本 👩‍👩‍👧 '\"\\ \u{0}"

  static let contents = [
    StoreCheck("output is kept byte for byte, NUL and invalid UTF-8 included") { under in
      let store = under.store
      let outputs = [
        JobOutput(stdout: everyByte, stderr: everyByte.reversed(), stdoutDropped: 3, stderrDropped: 5),
        JobOutput(stdout: [0], stderr: [0, 0xFF, 0]),
        JobOutput(stdout: [0xC3, 0x28, 0, 0xED, 0xA0, 0x80]),
        JobOutput(stderr: [0]),
        JobOutput(),
      ]
      for (number, output) in outputs.enumerated() {
        for status in [JobStatus.completed, .failed, .timeout] {
          let job = Job.sample("job-\(number)-\(status)")
          try await store.make(job, .running)
          // The text of a completed job is its output, made valid.
          let text = String(decoding: output.stdout, as: UTF8.self)
          let result: JobResult = status == .completed ? .success(text) : .error("no")
          let record = try await store.transition(job.id, .finish(status, result, output, at: .at(5)))
          #expect(record.result == result)
          #expect(try await store.output(job.id) == output, "\(job.id)")
        }
      }
      let reopened = try await under.reopen()
      for (number, output) in outputs.enumerated() {
        for status in [JobStatus.completed, .failed, .timeout] {
          #expect(try await reopened.output(JobID(trusted: "job-\(number)-\(status)")) == output)
        }
      }
    },
    StoreCheck("payload, environment and result are kept exactly, NUL included") { under in
      let job = Job.sample(
        "job", payload: text, timeout: 0.1, environment: ["A": text, "": "", "a=b": "\u{0}", "日本": "\u{10FFFF}"])
      _ = try await under.store.create(.queued(job))
      _ = try await under.store.transition(job.id, .finish(.completed, .success(text), nil, at: .at(1)))
      _ = try await under.store.create(.queued(.sample("failed")))
      _ = try await under.store.transition(
        JobID(trusted: "failed"), .finish(.failed, .error(text), nil, at: .at(1)))
      var store = under.store
      for round in 0..<2 {
        if round == 1 { store = try await under.reopen() }
        let record = try await store.record(job.id)
        #expect(Array(record.job.payload.utf8) == Array(text.utf8))
        #expect(record.job == job)
        #expect(record.job.environment["A"].map { Array($0.utf8) } == Array(text.utf8))
        #expect(record.result == .success(text))
        #expect(try await store.record(JobID(trusted: "failed")).result == .error(text))
        // What was accepted is the same job again.
        #expect(try await store.create(.queued(job)) == .existed(record))
      }
    },
    StoreCheck("empty texts are kept as empty texts") { under in
      let job = Job.sample("job", caller: "", context: "", payload: "", timeout: 0, environment: [:])
      _ = try await under.store.create(.queued(job))
      _ = try await under.store.transition(job.id, .finish(.failed, .error(""), JobOutput(), at: .at(1)))
      let store = try await under.reopen()
      let record = try await store.record(job.id)
      #expect(record.job == job)
      #expect(record.result == .error(""))
      #expect(try await store.output(job.id) == JobOutput())
    },
    StoreCheck("quotes, backslashes and words of SQL mean nothing") { under in
      let nasty = "x'); DROP TABLE jobs; -- \\ \" ` % _ $1 ?"
      let job = Job.sample(nasty, caller: nasty, context: nasty, payload: nasty, runner: nasty, executor: nasty)
      _ = try await under.store.create(.queued(job))
      var query = JobQuery()
      query.callerID = nasty
      query.contextID = nasty
      query.runner = job.runner
      #expect(try await under.store.query(query).jobs.map(\.unplaced) == [.queued(job)])
      query.callerID = "%"
      #expect(try await under.store.query(query).jobs == [])
    },
    StoreCheck("payloads and outputs of 10 MiB are kept") { under in
      var bytes = [UInt8](repeating: 0, count: 10 << 20)
      for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: index &* 31 >> 3) }
      let payload = String(repeating: "0123456789abcde\n", count: 10 << 16)
      let ids = (0..<3).map { JobID(trusted: "job-\($0)") }
      for id in ids { _ = try await under.store.create(.queued(.sample(id.rawValue, payload: payload))) }
      let output = JobOutput(stdout: bytes, stderr: bytes.reversed())
      for id in ids {
        _ = try await under.store.transition(id, .finish(.failed, .error(payload), output, at: .at(1)))
      }
      let store = try await under.reopen()
      // All at once, though no cache holds them all.
      let records = try await concurrently(ids.count * 2) { try await store.finished(ids[$0 / 2]) }
      for record in records {
        #expect(record.job.payload == payload)
        #expect(record.result == .error(payload))
      }
      for id in ids { #expect(try await store.output(id) == output) }
    },
    StoreCheck("a timeout is kept to the last bit, and instants to the millisecond") { under in
      let job = Job.sample("job", timeout: 0.1 + 0.2)
      let record = JobRecord(job: job, createdAt: Timestamp(milliseconds: 1), updatedAt: Timestamp(milliseconds: -1))
      _ = try await under.store.create(record)
      #expect(try await under.reopen().record(job.id) == record)
    },
  ]
}
