import Supervisor
import Testing

// Waiting for the end of a job.

extension StoreCheck {
  static let waiting = [
    StoreCheck("finished answers a finished job at once") { under in
      for status in JobStatus.allCases where status.isFinal {
        let record = try await under.store.make(.sample("\(status)"), status)
        #expect(try await under.store.finished(record.job.id) == record)
      }
      #expect(await under.waiters() == 0)
    },
    StoreCheck("finished waits through a whole life and answers the final record to all who wait") { under in
      let store = under.store
      let job = Job.sample("job")
      _ = try await store.create(.created(job))
      let waits = (0..<10).map { _ in Task { try await store.finished(job.id) } }
      #expect(await eventually { await under.waiters() == 10 })
      for step in [
        JobTransition.enqueue(at: .at(1)), .start(at: .at(2)), .requeue(at: .at(3)), .start(at: .at(4)),
        .spawned(.sample, at: .at(5)),
      ] {
        _ = try await store.transition(job.id, step)
        #expect(await under.waiters() == 10)
      }
      let final = try await store.transition(job.id, .completed())
      for wait in waits { #expect(try await wait.value == final) }
      #expect(await under.waiters() == 0)
    },
    StoreCheck("finished of an unfinished job that the store must read first waits for its end") { under in
      let jobs = (0..<8).map { Job.sample("job-\($0)", payload: String(repeating: "\($0)", count: 3 << 20)) }
      for job in jobs { _ = try await under.store.create(.queued(job)) }
      let store = try await under.reopen()
      let waits = jobs.map { job in Task { try await store.finished(job.id) } }
      #expect(await eventually { await under.waiters() == jobs.count })
      for job in jobs { _ = try await store.transition(job.id, .completed(job.id.rawValue)) }
      for (job, wait) in zip(jobs, waits) {
        let record = try await wait.value
        #expect(record.job.id == job.id)
        #expect(record.result == .success(job.id.rawValue))
      }
    },
    StoreCheck("finished does not poll: while it waits, nothing is written and no other job wakes it") { under in
      let store = under.store
      let job = Job.sample("job")
      _ = try await store.create(.queued(job))
      let wait = Task { try await store.finished(job.id) }
      #expect(await eventually { await under.waiters() == 1 })
      for number in 0..<10 { try await store.make(.sample("other-\(number)"), .completed) }
      #expect(await under.waiters() == 1)
      let final = try await store.transition(job.id, .failed())
      #expect(try await wait.value == final)
    },
    StoreCheck("a wait that is cancelled ends as cancelled and leaves no waiter") { under in
      let store = under.store
      let job = Job.sample("job")
      _ = try await store.create(.queued(job))
      let other = Task { try await store.finished(job.id) }
      let wait = Task { try await store.finished(job.id) }
      #expect(await eventually { await under.waiters() == 2 })
      wait.cancel()
      await expect(.cancelled) { _ = try await wait.value }
      #expect(await under.waiters() == 1)
      let final = try await store.transition(job.id, .completed())
      #expect(try await other.value == final)
      #expect(await under.waiters() == 0)
    },
    StoreCheck("a wait that is cancelled at any moment leaves no waiter") { under in
      let ids = (0..<100).map { JobID(trusted: "job-\($0)") }
      for id in ids { _ = try await under.store.create(.queued(.sample(id.rawValue))) }
      let store = try await under.reopen()
      _ = try await concurrently(ids.count) { number in
        let wait = Task { try await store.finished(ids[number]) }
        for _ in 0..<number % 10 { await Task.yield() }
        wait.cancel()
        await expect(.cancelled) { _ = try await wait.value }
      }
      #expect(await eventually { await under.waiters() == 0 })
    },
    StoreCheck("a wait for a job that is deleted meanwhile ends as not found") { under in
      let store = under.store
      let job = Job.sample("job")
      _ = try await store.create(.queued(job))
      let wait = Task { try await store.finished(job.id) }
      #expect(await eventually { await under.waiters() == 1 })
      try await store.delete(job.id)
      await expect(.notFound(job.id)) { _ = try await wait.value }
    },
    StoreCheck("a wait for a job that is deleted and created anew ends as not found") { under in
      let store = under.store
      for number in 0..<20 {
        let job = Job.sample("job-\(number)")
        _ = try await store.create(.queued(job))
        let wait = Task { try await store.finished(job.id) }
        #expect(await eventually { await under.waiters() == 1 })
        async let deletion: Void = store.delete(job.id)
        async let creation = store.create(.queued(.sample(job.id.rawValue, payload: "new")))
        try await deletion
        // The creation came before or after the deletion.
        _ = try? await creation
        await expect(.notFound(job.id)) { _ = try await wait.value }
      }
    },
    StoreCheck("finished returns at the end of a job, never before, whatever happens at the same time") { under in
      let store = under.store
      _ = try await concurrently(200) { number in
        let job = Job.sample("job-\(number)")
        _ = try await store.create(.queued(job))
        async let waited = store.finished(job.id)
        _ = try await store.transition(job.id, .start(at: .at(1)))
        let final = try await store.transition(job.id, .completed("\(number)"))
        #expect(try await waited == final)
      }
      #expect(await under.waiters() == 0)
    },
  ]
}
