import Supervisor
import Testing

// Steps: the legal ones, each with the record that it leads to, and the refusal of all others.

extension StoreCheck {
  private static let steps: [(name: String, step: JobTransition, from: Set<JobStatus>)] = [
    ("enqueue", .enqueue(at: .at(10)), [.created]),
    ("start", .start(at: .at(10)), [.queued]),
    ("spawned", .spawned(.sample, at: .at(10)), [.running]),
    ("requeue", .requeue(at: .at(10)), [.running]),
    ("put back", .putBack(at: .at(10)), [.running]),
    ("complete", .completed(at: .at(10)), [.created, .queued, .running]),
    ("fail", .failed(at: .at(10)), [.created, .queued, .running]),
    (
      "time out", .finish(.timeout, .error("timed out after 1.5 s"), nil, at: .at(10)), [.created, .queued, .running]
    ),
  ]

  static let transitions = [
    StoreCheck("every step is accepted or refused, and recorded, as JobTransition.apply says") { under in
      let store = under.store
      for (name, step, from) in steps {
        for status in JobStatus.allCases {
          let job = Job.sample("\(name) \(status)")
          let before = try await store.make(job, status)
          if from.contains(status) {
            var after = try step.apply(to: before)
            let answer = try await store.transition(job.id, step)
            // The store gives the place with the first queueing.
            if after.status == .queued, before.position == nil { after.position = answer.position }
            #expect((after.position != nil) == (status != .created || after.status == .queued), "\(job.id)")
            #expect(answer == after, "\(job.id)")
            #expect(try await store.record(job.id) == after, "\(job.id)")
          } else {
            await expect(.wrongState(job.id, status)) { _ = try await store.transition(job.id, step) }
            #expect(try await store.record(job.id) == before, "\(job.id)")
          }
        }
      }
    },
    StoreCheck("a job's whole life is recorded step by step") { under in
      let store = under.store
      let job = Job.sample("job")
      var expected = JobRecord.created(job)
      _ = try await store.create(expected)
      let life: [JobTransition] = [
        .enqueue(at: .at(1)), .start(at: .at(2)), .spawned(.sample, at: .at(3)), .requeue(at: .at(4)),
        .start(at: .at(5)), .spawned(.sample, at: .at(6)), .completed(at: .at(7)),
      ]
      for step in life {
        expected = try step.apply(to: expected)
        let answer = try await store.transition(job.id, step)
        if expected.position == nil { expected.position = answer.position }
        #expect(answer == expected)
        #expect(try await store.record(job.id) == expected)
      }
      #expect(expected.attempt == 2)
      #expect(expected.position != nil)
      #expect(expected.status == .completed)
      #expect(try await store.record(job.id).process == nil)
    },
    StoreCheck("what each step leaves of state, attempt, times and process is as it is written here") { under in
      typealias Expected = (status: JobStatus, attempt: Int, startedAt: Int64?, completedAt: Int64?, hasProcess: Bool)
      let life: [(step: JobTransition, left: Expected)] = [
        (.enqueue(at: .at(1)), (.queued, 0, nil, nil, false)),
        (.start(at: .at(2)), (.running, 1, 2, nil, false)),
        (.spawned(.sample, at: .at(3)), (.running, 1, 2, nil, true)),
        (.requeue(at: .at(4)), (.queued, 1, nil, nil, false)),
        (.start(at: .at(5)), (.running, 2, 5, nil, false)),
        (.putBack(at: .at(6)), (.queued, 1, nil, nil, false)),
        (.start(at: .at(7)), (.running, 2, 7, nil, false)),
        (.spawned(.sample, at: .at(8)), (.running, 2, 7, nil, true)),
        (.putBack(at: .at(9)), (.queued, 1, nil, nil, false)),
        (.start(at: .at(10)), (.running, 2, 10, nil, false)),
        (.spawned(.sample, at: .at(11)), (.running, 2, 10, nil, true)),
        (.completed(at: .at(12)), (.completed, 2, 10, 12, false)),
      ]
      let job = Job.sample("job")
      let created = JobRecord.created(job)
      _ = try await under.store.create(created)
      for (number, (step, left)) in life.enumerated() {
        let answer = try await under.store.transition(job.id, step)
        for record in [answer, try await under.store.record(job.id)] {
          let times = (record.startedAt, record.completedAt)
          #expect(record.status == left.status && record.attempt == left.attempt, "\(step)")
          #expect(times.0 == left.startedAt.map { .at($0) } && times.1 == left.completedAt.map { .at($0) }, "\(step)")
          #expect((record.process != nil) == left.hasProcess, "\(step)")
          #expect(record.createdAt == created.createdAt && record.updatedAt == .at(Int64(number + 1)), "\(step)")
        }
      }
    },
    StoreCheck("the process of a running job is kept exactly") { under in
      let job = Job.sample("job")
      try await under.store.make(job, .running)
      _ = try await under.store.transition(job.id, .spawned(.sample, at: .at(3)))
      #expect(try await under.store.unfinished().map(\.process) == [.sample])
      let store = try await under.reopen()
      #expect(try await store.record(job.id).process == .sample)
    },
  ]

  static let concurrency = [
    StoreCheck("of many starts of one job at the same time, one wins, also when the store must read it first") {
      under in
      var store = under.store
      for round in 0..<3 {
        let jobs = (0..<40).map { Job.sample("job-\(round)-\($0)") }
        for job in jobs { _ = try await store.create(.queued(job)) }
        store = try await under.reopen()
        let opened = store
        let wins = try await concurrently(jobs.count * 8) { number in
          let id = jobs[number / 8].id
          do {
            _ = try await opened.transition(id, .start(at: .at(Int64(number))))
            return true
          } catch {
            #expect(error as? JobStoreError == .wrongState(id, .running))
            return false
          }
        }
        for (index, job) in jobs.enumerated() {
          #expect(wins[index * 8..<index * 8 + 8].count { $0 } == 1, "\(job.id)")
          #expect(try await store.record(job.id).attempt == 1)
        }
      }
    },
    StoreCheck("of a finish and a delete at the same time, both or one are right") { under in
      let store = under.store
      for number in 0..<50 {
        let job = Job.sample("job-\(number)")
        _ = try await store.create(.queued(job))
        async let finish: Result<JobRecord, JobStoreError> = attempt { () async throws(JobStoreError) in
          try await store.transition(job.id, .completed())
        }
        async let deletion: Result<Void, JobStoreError> = attempt { () async throws(JobStoreError) in
          try await store.delete(job.id)
        }
        // A delete is legal before and after the finish; the finish only before the delete.
        if case .failure(let error) = await finish { #expect(error == .notFound(job.id)) }
        if case .failure(let error) = await deletion { Issue.record("the delete was refused: \(error)") }
        await expect(.notFound(job.id)) { _ = try await store.record(job.id) }
      }
    },
    StoreCheck("2,000 steps at the same time land in far fewer commits") { under in
      let store = under.store
      let ids = (0..<2000).map { JobID(trusted: "job-\($0)") }
      let before = await under.commits()
      _ = try await concurrently(2000) { try await store.create(.queued(.sample(ids[$0].rawValue))) }
      let created = await under.commits()
      _ = try await concurrently(2000) { try await store.transition(ids[$0], .start(at: .at(1))) }
      let started = await under.commits()
      #expect(created > before)
      #expect(started > created)
      #expect(created - before <= 400)
      #expect(started - created <= 400)
      #expect(try await store.unfinished().count == 2000)
      #expect(try await store.unfinished().allSatisfy { $0.status == .running && $0.attempt == 1 })
    },
  ]
}

/// What a call answered or why it was refused.
package func attempt<Value: Sendable>(
  _ body: () async throws(JobStoreError) -> Value
) async -> Result<Value, JobStoreError> {
  do { return .success(try await body()) } catch { return .failure(error) }
}
