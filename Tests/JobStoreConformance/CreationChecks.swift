import Supervisor
import Testing

// Creating jobs: the id is the client's idempotency key.

extension StoreCheck {
  static let creation = [
    StoreCheck("a new job is created and read back whole") { (under) async throws in
      let record = JobRecord.created(.sample("job"))
      #expect(try await under.store.create(record).isNew)
      #expect(try await under.store.record(record.job.id) == record)
      #expect(try await under.store.unfinished() == [])
    },
    StoreCheck("a job may be created queued") { (under) async throws in
      var record = JobRecord.queued(.sample("job"))
      let creation = try await under.store.create(record)
      record.position = try await under.store.record(record.job.id).position
      #expect(record.position != nil)
      #expect(creation == .created(record))
      #expect(try await under.store.record(record.job.id) == record)
      #expect(try await under.store.unfinished().map(\.id) == [record.job.id])
    },
    StoreCheck("a job may be created finished, with its output") { (under) async throws in
      let output = JobOutput(stdout: Array("out".utf8), stderr: Array("err".utf8), stderrDropped: 7)
      let record = JobRecord(
        job: .sample("job"), status: .completed, attempt: 1, createdAt: .at(0), updatedAt: .at(2), startedAt: .at(1),
        completedAt: .at(2), result: .success("out"))
      #expect(try await under.store.create(record, output: output).isNew)
      #expect(try await under.store.record(record.job.id) == record)
      #expect(try await under.store.output(record.job.id) == output)
      #expect(try await under.store.finished(record.job.id) == record)
    },
    StoreCheck("the same job again answers the present record") { under in
      let job = Job.sample("job")
      let record = try await under.store.make(job, .running)
      let again = JobRecord(job: job, status: .queued, createdAt: .at(50))
      #expect(try await under.store.create(again) == .existed(record))
      #expect(try await under.store.record(job.id) == record)
    },
    StoreCheck("the same id with any other field is a conflict") { under in
      _ = try await under.store.create(.created(.sample("job")))
      let others: [Job] = [
        .sample("job", caller: "other"), .sample("job", context: "other"), .sample("job", payload: "other"),
        .sample("job", runner: "other"), .sample("job", executor: "other"), .sample("job", timeout: 2),
        .sample("job", environment: [:]),
      ]
      for other in others {
        await expect(.conflict(other.id)) { _ = try await under.store.create(.created(other)) }
      }
      #expect(try await under.store.record(JobID(trusted: "job")) == .created(.sample("job")))
    },
    StoreCheck("what differs only in how Unicode composes a letter is different") { under in
      let composed = "caf\u{E9}"
      let decomposed = "cafe\u{301}"
      _ = try await under.store.create(.created(.sample("job", payload: composed)))
      await expect(.conflict(JobID(trusted: "job"))) {
        _ = try await under.store.create(.created(.sample("job", payload: decomposed)))
      }
      #expect(try await under.store.create(.created(.sample(composed))).isNew)
      #expect(try await under.store.create(.created(.sample(decomposed))).isNew)
      let found = try await under.store.record(JobID(trusted: decomposed)).job.id.rawValue
      #expect(Array(found.utf8) == Array(decomposed.utf8))
    },
    StoreCheck("of many creations of one job at the same time, one creates it") { under in
      for number in 0..<20 {
        let job = Job.sample("job-\(number)")
        let answers = try await concurrently(16) { _ in try await under.store.create(.queued(job)) }
        #expect(answers.count(where: \.isNew) == 1)
        let present = try await under.store.record(job.id)
        #expect(answers.count { $0 == .existed(present) } == 15)
      }
    },
    StoreCheck("of many jobs with one id at the same time, one is created and the others are conflicts") { under in
      for number in 0..<20 {
        let id = "job-\(number)"
        let answers = try await concurrently(8) { caller in
          do { return try await under.store.create(.queued(.sample(id, caller: "\(caller)"))).isNew } catch {
            #expect(error as? JobStoreError == .conflict(JobID(trusted: id)))
            return false
          }
        }
        #expect(answers.count { $0 } == 1)
        let winner = answers.firstIndex(of: true)!
        #expect(try await under.store.record(JobID(trusted: id)).job.callerID == "\(winner)")
      }
    },
    StoreCheck("an id that was never created is not found") { under in
      let id = JobID(trusted: "nobody")
      await expect(.notFound(id)) { _ = try await under.store.record(id) }
      await expect(.notFound(id)) { _ = try await under.store.output(id) }
      await expect(.notFound(id)) { _ = try await under.store.finished(id) }
      await expect(.notFound(id)) { _ = try await under.store.transition(id, .enqueue(at: .at(1))) }
      await expect(.notFound(id)) { try await under.store.delete(id) }
    },
    StoreCheck("a store that can write says so") { under in
      #expect(await under.store.unavailability() == nil)
    },
  ]
}

/// Runs a body many times at once, and answers in the order of the numbers it was given.
package func concurrently<Value: Sendable>(
  _ count: Int, _ body: @escaping @Sendable (Int) async throws -> Value
) async throws -> [Value] {
  try await withThrowingTaskGroup(of: (Int, Value).self) { group in
    for number in 0..<count { group.addTask { (number, try await body(number)) } }
    var answers: [(Int, Value)] = []
    for try await answer in group { answers.append(answer) }
    return answers.sorted { $0.0 < $1.0 }.map(\.1)
  }
}
