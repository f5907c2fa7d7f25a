import JSONRPC
import Testing

@testable import SupervisorClient

struct JobWaitTests {
  private let endpoint = Endpoint(host: "n1")
  private var lost: ClientError { .connectionLost(endpoint: endpoint, reason: "reset") }
  private var away: ClientError { .cannotConnect(endpoint: endpoint, reason: "refused") }
  private let notFound = ClientError.rpc(code: -32002, message: "No job", data: nil)
  private let stopping = ClientError.rpc(code: -32009, message: "the node is stopping", data: nil)

  private func unreachable(_ outcome: String?) -> ClientError {
    .rpc(code: -32005, message: "Cannot reach n3", data: outcome.map { ["outcome": .string($0)] } ?? [:])
  }

  /// What follows each failure, without the notices.
  private func steps(
    _ method: String, endpoints: Int = 2, lasting time: Duration = .zero, _ failures: ClientError...
  ) -> [String] {
    var wait = JobWait(method, job: "j", endpoints: endpoints)
    return failures.map { failure in
      switch wait.after(failure, lasting: time) {
      case .ask(let method, after: .zero, _): method
      case .ask(let method, _, _): "pause \(method)"
      case .fail(let error): "fail \(error == failure ? "so" : "\(error)")"
      }
    }
  }

  @Test("after a loss the job is asked for by its id, and made again only when nobody can have it")
  func loss() {
    #expect(
      steps("job.run", lost, unreachable(nil), unreachable(nil), notFound)
        == ["job.result", "pause job.result", "pause job.result", "job.run"])
    #expect(steps("job.run", unreachable("unknown"), stopping) == ["pause job.result", "pause job.result"])
    // Only `not_done` is certain.
    #expect(
      steps("job.run", unreachable(nil), unreachable(nil), notFound, unreachable("not_done"))
        == ["pause job.result", "pause job.result", "job.run", "fail so"])
    #expect(steps("job.result", lost, unreachable(nil), notFound) == ["job.result", "pause job.result", "fail so"])
    #expect(steps("job.result", unreachable("unknown")) == ["pause job.result"])
  }

  @Test("a job that a node has shown is never made again: it was deleted since")
  func seen() {
    var wait = JobWait("job.run", job: "j", endpoints: 2)
    _ = wait.after(lost, lasting: .zero)
    wait.sawJob()
    #expect(wait.after(notFound, lasting: .zero) == .fail(notFound))
    let waits = ClientError.rpc(code: -32005, message: "Cannot reach n3", data: ["job": "j"])
    #expect(steps("job.run", lost, waits, notFound) == ["job.result", "pause job.result", "fail so"])
    #expect(steps("job.run", stopping, waits, notFound) == ["job.result", "pause job.result", "fail so"])
  }

  @Test("what was certainly not done is an answer")
  func refusal() {
    #expect(steps("job.run", unreachable("not_done")) == ["fail so"])
    #expect(steps("job.run", notFound) == ["fail so"])
    #expect(steps("job.result", unreachable(nil)) == ["fail so"])
    #expect(steps("job.result", stopping) == ["fail so"])
    // A node that stops may have begun; when it has not, the other may, and then that is the answer.
    #expect(
      steps("job.run", stopping, notFound, stopping, notFound)
        == ["job.result", "job.run", "job.result", "fail \(stopping)"])
  }

  @Test("it gives up when no node answers any more, and says how it began")
  func lonely() {
    #expect(steps("job.run", away) == ["fail so"])
    var wait = JobWait("job.run", job: "j", endpoints: 1)
    #expect(
      wait.after(lost, lasting: .zero)
        == .ask("job.result", after: .zero, .waitGoesOn(job: "j", reason: "\(lost)")))
    for _ in 1..<10 { #expect(wait.after(away, lasting: .zero) == .ask("job.result", after: .seconds(1), nil)) }
    #expect(wait.after(away, lasting: .zero) == .fail(lost))
    // Also at a node that dies over each call, but not over the losses of years.
    var dying = JobWait("job.run", job: "j", endpoints: 1)
    var steps = 0
    while case .ask(let method, _, _) = dying.after(lost, lasting: .zero), steps < 100 {
      steps += 1
      if method == "job.result" { _ = dying.after(notFound, lasting: .zero) }
    }
    #expect(steps == 10)
    // Nor at one that never says what became of it.
    var unsure = JobWait("job.run", job: "j", endpoints: 1)
    steps = 0
    while case .ask = unsure.after(unreachable(nil), lasting: .zero), steps < 100 {
      steps += 1
      _ = unsure.after(unreachable(nil), lasting: .zero)
      #expect(unsure.after(notFound, lasting: .zero) == .ask("job.run", after: .zero, nil))
    }
    #expect(steps == 10)
    var old = JobWait("job.result", job: "j", endpoints: 1)
    for _ in 0..<100 {
      guard case .ask = old.after(lost, lasting: .seconds(3600)) else {
        Issue.record("gave up")
        return
      }
    }
  }

  @Test("a proxy that reached no node, or lost it, leaves open what became of the call")
  func proxy() {
    for status in [502, 504] {
      let failure = ClientError.httpStatus(endpoint: endpoint, status: status, reason: "Bad Gateway")
      #expect(steps("job.run", failure, failure, notFound) == ["job.result", "pause job.result", "job.run"])
      #expect(steps("job.result", failure) == ["job.result"])
      #expect(failure.isLoss && failure.isOfAway && !failure.isAnswer)
    }
  }

  @Test("that a job is away is said once")
  func notices() {
    var wait = JobWait("job.run", job: "j", endpoints: 2)
    let told = ClientNotice.jobIsAway(job: "j", reason: "Cannot reach n3")
    #expect(wait.after(unreachable("unknown"), lasting: .zero) == .ask("job.result", after: .seconds(1), told))
    #expect(wait.after(unreachable(nil), lasting: .zero) == .ask("job.result", after: .seconds(1), nil))
    #expect("\(told)" == "Cannot reach n3; waiting for job j until it is back")
  }

  @Test("the job's id is found in every form of parameters that nodes take")
  func subjects() {
    let job: JSON = ["id": "j", "payload": "x"]
    let forms: [(String, JSON, String?, String?)] = [
      ("job.run", ["params": ["secret": "s", "job": job]], "j", "s"),
      ("job.run", [["secret": "s", "job": job]], "j", "s"),
      ("job.run", ["job": job], "j", nil), ("job.run", [], nil, nil), ("job.run", ["job": [:]], nil, nil),
      ("job.result", ["j"], "j", nil), ("job.result", ["job_id": "j", "secret": "s"], "j", "s"),
      ("job.result", [], nil, nil), ("job.result", .null, nil, nil), ("job.status", ["j"], nil, nil),
    ]
    for (method, params, id, secret) in forms {
      let subject = JobWait.subject(of: method, params)
      #expect(subject?.job == id && subject?.secret == secret, "\(method) \(params)")
    }
  }
}
