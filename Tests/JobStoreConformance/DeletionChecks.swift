import Supervisor
import Testing

// Deleting jobs, and opening a store again.

extension StoreCheck {
  static let deletion = [
    StoreCheck("a job may be deleted in every state but running") { under in
      let store = under.store
      for status in JobStatus.allCases {
        let job = Job.sample("\(status)")
        let record = try await store.make(job, status)
        if status == .running {
          await expect(.wrongState(job.id, .running)) { try await store.delete(job.id) }
          #expect(try await store.record(job.id) == record)
        } else {
          try await store.delete(job.id)
          await expect(.notFound(job.id)) { _ = try await store.record(job.id) }
          await expect(.notFound(job.id)) { _ = try await store.output(job.id) }
          await expect(.notFound(job.id)) { try await store.delete(job.id) }
        }
      }
      #expect(try await store.query(JobQuery()).jobs.map(\.status) == [.running])
      #expect(try await under.reopen().query(JobQuery()).jobs.map(\.status) == [.running])
    },
    StoreCheck("a deleted id may be created anew, and has nothing of its former job") { under in
      let store = under.store
      let id = JobID(trusted: "job")
      let output = JobOutput(stdout: [1], stderr: [2])
      try await store.make(.sample("job"), .running)
      _ = try await store.transition(id, .finish(.failed, .error("no"), output, at: .at(5)))
      #expect(try await store.output(id) == output)
      try await store.delete(id)
      let record = JobRecord.queued(.sample("job", payload: "new"))
      #expect(try await store.create(record).isNew)
      #expect(try await store.record(id).unplaced == record)
      _ = try await store.transition(id, .failed())
      #expect(try await store.output(id) == JobOutput())
      #expect(try await under.reopen().record(id).job.payload == "new")
    },
    StoreCheck("of many deletions of one job at the same time, one deletes it") { under in
      let store = under.store
      for number in 0..<20 {
        let job = Job.sample("job-\(number)")
        _ = try await store.create(.queued(job))
        let answers = try await concurrently(8) { _ in
          do {
            try await store.delete(job.id)
            return true
          } catch {
            #expect(error as? JobStoreError == .notFound(job.id))
            return false
          }
        }
        #expect(answers.count { $0 } == 1)
      }
    },
    StoreCheck("creations and deletions of one id at the same time leave it as the last one said") { under in
      let store = under.store
      let job = Job.sample("job")
      _ = try await concurrently(8) { _ in
        for _ in 0..<25 {
          _ = try await store.create(.queued(job))
          _ = await attempt { () async throws(JobStoreError) in try await store.delete(job.id) }
        }
      }
      await expect(.notFound(job.id)) { _ = try await store.record(job.id) }
      #expect(try await store.unfinished() == [])
      #expect(try await store.query(JobQuery()).jobs == [])
      #expect(try await store.create(.queued(job)).isNew)
    },
  ]

  static let reopening = [
    StoreCheck("a store that is opened again has all that was answered") { under in
      let store = under.store
      let ids = (0..<200).map { JobID(trusted: "job-\($0)") }
      let statuses = JobStatus.allCases
      let records = try await concurrently(ids.count) { number in
        try await store.make(.sample(ids[number].rawValue), statuses[number % statuses.count])
      }
      for number in stride(from: 0, to: ids.count, by: statuses.count * 2) { try await store.delete(ids[number]) }
      let unfinished = try await store.unfinished()
      let listed = try await store.query(JobQuery(limit: 1000))
      let reopened = try await under.reopen()
      for (number, record) in records.enumerated() {
        if number % (statuses.count * 2) == 0 {
          await expect(.notFound(ids[number])) { _ = try await reopened.record(ids[number]) }
        } else {
          #expect(try await reopened.record(ids[number]) == record)
        }
      }
      #expect(try await reopened.unfinished() == unfinished)
      #expect(try await reopened.query(JobQuery(limit: 1000)) == listed)
    }
  ]
}
