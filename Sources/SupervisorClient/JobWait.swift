// How a wait for a job goes on when a node is lost. The job is asked for by its id, at whichever node answers, and created
// again only when every node that could have it says that it has not, and none has shown it before.
import JSONRPC

/// What a call that waits for a job does after a failure; a value.
struct JobWait: Sendable {
  enum Step: Hashable, Sendable {
    /// Ask again, by this method, after a pause.
    case ask(String, after: Duration, ClientNotice?)
    case fail(ClientError)
  }

  private static let run = "job.run"
  private static let result = "job.result"
  /// Between two rounds over all endpoints.
  private static let pause = Duration.seconds(1)
  /// For how many rounds it goes on when no node at all can be reached, as while the only one is started again.
  private static let lonelyRounds = 10

  let job: String
  private let endpoints: Int
  /// Whether the call was one that creates the job.
  private let creates: Bool
  private var method: String
  /// Set once a node may have begun to work on it: an answer that the job cannot be found is no answer from then on.
  private var mayHaveBegun = false
  /// Whether a node has shown the job. One that cannot be found afterwards was deleted or forgotten, and has run.
  private var hasSeenJob = false
  /// Why it was not run; it stands if nobody has the job.
  private var refusal: ClientError?
  private var refusals = 0
  private var rounds = 0
  /// How often `job.run` was answered that nobody knows what became of it.
  private var unsureRuns = 0
  private var hasToldAway = false
  /// The first loss of a node, which is told of, and is the error if no node can be reached any more.
  private var loss: ClientError?

  init(_ method: String, job: String, endpoints: Int) {
    self.method = method
    self.job = job
    self.endpoints = endpoints
    creates = method == Self.run
  }

  /// A node has shown the job.
  mutating func sawJob() { hasSeenJob = true }

  /// Decides what follows a failure of what was asked last.
  /// - Parameter time: how long that took.
  mutating func after(_ error: ClientError, lasting time: Duration) -> Step {
    switch error {
    case .cannotConnect, .notSecured:
      guard mayHaveBegun else { return .fail(error) }
      return lonely(error)
    case _ where error.isLoss:
      // A node that waited with us for a while was one.
      if time >= Self.pause * Self.lonelyRounds { rounds = 0 }
      (mayHaveBegun, refusal) = (true, nil)
      return lonely(error)
    case .rpc(code: -32005, let message, let data) where data?["outcome"] == "unknown":
      (mayHaveBegun, refusal, rounds) = (true, nil, 0)
      return away(message)
    case .rpc(code: -32005, let message, let data) where method == Self.run && data?["outcome"] != "not_done":
      // What is not said to be undone may have begun. A node that says this of every try must not keep the wait for ever.
      unsureRuns += 1
      guard unsureRuns <= Self.lonelyRounds else { return .fail(error) }
      (mayHaveBegun, refusal) = (true, nil)
      if data?["job"] != nil { sawJob() }
      return away(message)
    case .rpc(code: -32005, let message, let data) where method == Self.result && mayHaveBegun:
      // A job that waits for the new owner of its runner.
      if data?["job"] != nil { sawJob() }
      rounds = 0
      return away(message)
    case .rpc(code: -32009, _, _), .httpStatus(_, status: 503, _):
      rounds = 0
      if method == Self.run {
        // It may have been at it, and stops now.
        (refusal, mayHaveBegun) = (error, true)
        return again()
      }
      return mayHaveBegun ? again(after: Self.pause) : .fail(error)
    case .rpc(code: -32002, _, _) where method == Self.result && creates && !hasSeenJob:
      // Nobody has it, and nobody who is away can have it.
      if let refusal {
        refusals += 1
        guard refusals < endpoints else { return .fail(refusal) }
      }
      (mayHaveBegun, refusal) = (false, nil)
      method = Self.run
      return .ask(Self.run, after: .zero, nil)
    default: return .fail(error)
    }
  }

  private mutating func away(_ reason: String) -> Step {
    defer { hasToldAway = true }
    return again(after: Self.pause, hasToldAway ? nil : .jobIsAway(job: job, reason: reason))
  }

  /// No node has answered. Of the first one that was lost it is said that it was.
  private mutating func lonely(_ error: ClientError) -> Step {
    rounds += 1
    guard rounds <= Self.lonelyRounds else { return .fail(loss ?? error) }
    guard loss == nil else { return again(after: Self.pause) }
    loss = error
    return again(.waitGoesOn(job: job, reason: "\(error)"))
  }

  private mutating func again(after pause: Duration = .zero, _ notice: ClientNotice? = nil) -> Step {
    method = Self.result
    return .ask(Self.result, after: pause, notice)
  }
}

extension JobWait {
  /// The job that a call waits for, and the key that it carries; `nil` of a method that waits for none, or whose
  /// parameters do not name one.
  static func subject(of method: String, _ params: JSON) -> (job: String, secret: String?)? {
    guard method == run || method == result else { return nil }
    let fields = params["params"] ?? params.arrayValue?.last ?? params
    let secret = (fields["secret"] ?? params["secret"])?.stringValue
    if method == result { return (fields.stringValue ?? fields["job_id"]?.stringValue).map { ($0, secret) } }
    return (fields["job"]?["id"] ?? fields["id"])?.stringValue.map { ($0, secret) }
  }
}
