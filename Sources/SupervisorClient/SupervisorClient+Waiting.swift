// Calls that wait for a job, which may take hours and the loss of nodes. While one is under way, its node and another are
// asked now and then; when the node is silent, or owes the answer, the wait goes on at the other.
import EventLoop
import JSONRPC
import Synchronization

extension SupervisorClient {
  /// Calls `job.run` or `job.result`, and follows the job by its id over the loss of any node (`JobWait`).
  func answer(
    waitingFor job: String, _ method: String, _ params: JSON, secret: String?, timeout: Duration?
  ) async throws(ClientError) -> Answer {
    let byID: JSON = .object(
      JSONObject(members: [("job_id", .string(job))] + (secret.map { [("secret", .string($0))] } ?? [])))
    let deadline = timeout.map { SuspendingClock.now + $0 }
    var wait = JobWait(method, job: job, endpoints: transport.endpointCount)
    let sight = Sight()
    var next = method
    while true {
      let failure: ClientError
      let start = SuspendingClock.now
      do throws(ClientError) {
        let rest = deadline.map { max(.zero, SuspendingClock.now.duration(to: $0)) }
        return try await ask(next, next == method ? params : byID, status: byID, sight, timeout: rest)
      } catch { failure = error }
      if sight.hasJob { wait.sawJob() }
      if let timeout, let deadline, SuspendingClock.now >= deadline {
        guard case .timedOut(let endpoint, _) = failure else { throw failure }
        throw .timedOut(endpoint: endpoint, after: timeout)
      }
      switch wait.after(failure, lasting: start.duration(to: SuspendingClock.now)) {
      case .fail(let error): throw error
      case .ask(let method, after: let pause, let notice):
        if let notice { onNotice(notice) }
        if pause > .zero, (try? await loop.sleep(for: pause)) == nil { throw .cancelled }
        next = method
      }
    }
  }

  /// Whether a node has shown the job since the wait began.
  private final class Sight: Sendable {
    private let seen = Atomic(false)
    var hasJob: Bool { seen.load(ordering: .relaxed) }
    func sawJob() { seen.store(true, ordering: .relaxed) }
  }

  private enum Event: Sendable {
    case ended(Result<Answer, ClientError>)
    /// Another node may do better than the one that is asked.
    case moves
    case stays
  }

  /// Makes one call that waits, and watches over its node.
  private func ask(
    _ method: String, _ params: JSON, status: JSON, _ sight: Sight, timeout: Duration?
  ) async throws(ClientError) -> Answer {
    let place = NodeTransport.Place()
    let result = await withTaskGroup(of: Event.self) { group -> Result<Answer, ClientError> in
      defer { group.cancelAll() }
      group.addTask {
        do throws(ClientError) {
          return .ended(.success(try await self.plainAnswer(to: method, params, timeout: timeout, at: place)))
        } catch {
          return .ended(.failure(error))
        }
      }
      group.addTask { await self.watch(place, status, sight) ? .moves : .stays }
      for await event in group {
        switch event {
        case .ended(let result): return result
        case .moves:
          guard let endpoint = await self.transport.leave(place) else { continue }
          return .failure(.timedOut(endpoint: endpoint, after: self.limits.waitCheck))
        case .stays: continue
        }
      }
      return .failure(.cancelled)
    }
    return try result.get()
  }

  /// Looks after the node where a call waits, every `Limits.waitCheck`; sooner when no node has answered.
  /// - Returns: whether the wait shall go on elsewhere; `false` when it is cancelled.
  private func watch(_ place: NodeTransport.Place, _ params: JSON, _ sight: Sight) async -> Bool {
    var hasTold = false
    var pause = limits.waitCheck
    while (try? await loop.sleep(for: pause)) != nil {
      pause = limits.waitCheck
      guard let index = place.current else { continue }
      async let own = jobStatus(params, sight, from: index)
      async let other = jobStatus(params, sight, besides: index)
      let (here, there) = (await own, await other)
      if Task.isCancelled { return false }
      switch (here, there) {
      case (.silent, .silent):
        if !hasTold { onNotice(.silent(transport.endpoint(index), after: limits.checkTime, next: nil)) }
        hasTold = true
        if transport.endpointCount > 1 { pause = min(pause, limits.recheck) }
      case (.silent, _), (.ended, _), (_, .ended): if await isStill(place, at: index) { return true }
      case (.unfinished, _): break
      }
    }
    return false
  }

  /// Lets an answer that is on its way come, however large it is and slow the link.
  /// - Returns: whether nothing has moved for a second; `false` when the call has gone on to another endpoint, or is
  ///   cancelled.
  private func isStill(_ place: NodeTransport.Place, at index: Int) async -> Bool {
    var seen = await place.movedBytes
    while (try? await loop.sleep(for: .seconds(1))) != nil, place.current == index {
      let moved = await place.movedBytes
      if moved == seen { return true }
      seen = moved
    }
    return false
  }

  private enum JobView: Sendable { case silent, unfinished, ended }

  private func jobStatus(_ params: JSON, _ sight: Sight, from index: Int) async -> JobView {
    await view(params, sight) { $0.only = index }
  }

  private func jobStatus(_ params: JSON, _ sight: Sight, besides index: Int) async -> JobView {
    guard transport.endpointCount > 1 else { return .silent }
    return await view(params, sight) { $0.first = index + 1 }
  }

  /// What a node says of the job; that it knows nothing of it is an answer too.
  private func view(
    _ params: JSON, _ sight: Sight, _ change: (inout NodeTransport.Request) -> Void
  ) async -> JobView {
    do throws(ClientError) {
      let answer = try await plainAnswer(to: "job.status", params, timeout: limits.checkTime, change)
      guard case .string(let status)? = answer.result["status"] else { return .unfinished }
      sight.sawJob()
      return ["completed", "failed", "timeout"].contains(status) ? .ended : .unfinished
    } catch {
      return error.isAnswer ? .unfinished : .silent
    }
  }
}
