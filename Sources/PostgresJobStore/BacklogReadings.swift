import Supervisor

/// What was found when a runner's jobs were read last, so that the next look begins there.
///
/// The index of unfinished jobs keeps an entry for every state that a job has left, for as long as any transaction of the
/// whole server may still look at it (a backup, a report). A look that begins at the head of the backlog walks over all
/// of them. Positions grow, and only the owner starts a runner's jobs. So nothing waits below the position at which
/// something waited last, but a job that is queued again; and no job runs elsewhere but one that did when the runner was
/// read first. Whoever queues a job again says so (`reopen`); that this may be lost is for a look from the head now and
/// then.
struct BacklogReadings {
  private struct Reading {
    /// No job waits below.
    var floor: Int64
    /// Jobs that other processes were running.
    var elsewhere: Set<JobID>
  }
  private var readings: [RunnerName: Reading] = [:]
  /// The highest position that this process has given.
  private var lastPosition: Int64 = 0
  private var checks = 0
  /// How often jobs were queued again: what was read before that is old.
  private(set) var reopenings = 0

  private static let checksBetweenWholeLooks = 20

  /// What a look has to know.
  struct Look {
    /// By runner: from where to look. Of a runner that is missing here nothing is known.
    let floors: [RunnerName: Int64]
    /// Which jobs may run elsewhere.
    let elsewhere: [JobID]
    /// Every position that this process had given before the look began is at most this.
    fileprivate let lastPosition: Int64
    fileprivate let reopenings: Int
  }

  mutating func nextLook() -> Look {
    checks += 1
    if checks % Self.checksBetweenWholeLooks == 0 { reopenAll() }
    return look
  }

  /// What is known at present.
  var look: Look {
    Look(
      floors: readings.mapValues(\.floor), elsewhere: readings.values.flatMap(\.elsewhere), lastPosition: lastPosition,
      reopenings: reopenings)
  }

  /// A job was written with a position.
  mutating func gave(_ position: Int64?) { lastPosition = max(lastPosition, position ?? 0) }

  /// Everything that runs of these runners was read at one instant, and the first of what waits.
  /// - Parameter reopenings: when the reading began.
  mutating func read(_ runners: [RunnerName], _ backlog: SharedBacklog, since reopenings: Int) {
    let heads = Dictionary(backlog.waiting.map { ($0.runner, $0.position) }, uniquingKeysWith: { first, _ in first })
    let elsewhere = Dictionary(grouping: backlog.running.filter { !$0.isMine }, by: \.runner)
    for runner in runners {
      let floor = heads[runner] ?? readings[runner]?.floor ?? 0
      readings[runner] = Reading(
        floor: reopenings == self.reopenings ? floor : 0, elsewhere: Set((elsewhere[runner] ?? []).map(\.id)))
    }
  }

  /// The first waiting jobs of all runners, found by a look.
  mutating func found(_ first: [WaitingJob], by look: Look) {
    guard look.reopenings == reopenings else { return }
    var heads: [RunnerName: Int64] = [:]
    for job in first { heads[job.runner] = job.position }
    for (runner, floor) in look.floors where readings[runner] != nil {
      readings[runner]!.floor = heads[runner] ?? max(floor, look.lastPosition)
    }
  }

  /// A job of this runner was queued again.
  mutating func reopen(_ runner: RunnerName, at position: Int64?) {
    reopenings += 1
    guard let reading = readings[runner] else { return }
    readings[runner]!.floor = min(reading.floor, position ?? 0)
  }

  /// Jobs may have been queued again that nobody told of.
  mutating func reopenAll() {
    for runner in readings.keys { reopen(runner, at: nil) }
  }

  mutating func forget(_ runners: [RunnerName]) {
    for runner in runners { readings[runner] = nil }
  }
}
