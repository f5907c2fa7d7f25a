import Supervisor

/// Puts what an export has into a store, in its order; each line was checked with all lines before it.
///
/// Runners come last: in a database that nodes share they are this process's until it ends, and nobody would run their
/// jobs meanwhile.
struct ImportRun {
  private let store: MovableStore
  private var reader: ExportReader
  private(set) var summary = ImportSummary()
  private var runners: [RegisteredRunner] = []
  /// Of the jobs that wait.
  private var runnersInLine: Set<RunnerName> = []
  private var batch: [ExportedJob] = []
  private var batchBytes = 0

  /// Jobs that share a transaction at most, and about how many bytes.
  private static let batchJobs = 1000
  private static let batchSize = 8 << 20

  init(_ reader: ExportReader, into store: MovableStore) {
    self.reader = reader
    self.store = store
  }

  /// Goes as far as it can; `summary` says how far, and why not further.
  mutating func run() async {
    var progress = ProgressLine()
    do throws(ExportDamage) {
      while summary.refusal == nil, let line = try reader.next() {
        switch line {
        case .header, .checkpoint, .end: break
        case .runner(let runner): runners.append(runner)
        case .job(let job):
          add(job.settled)
          guard batch.count == Self.batchJobs || batchBytes > Self.batchSize else { continue }
          await writeBatch()
          progress.show("\(reader.jobCount) jobs")
        }
      }
    } catch {
      summary.damage = error
    }
    progress.clear()
    if summary.refusal == nil { await writeBatch() }
    if summary.refusal == nil { await register() }
    await store.tellOwners(of: runnersInLine)
  }

  private mutating func add(_ job: ExportedJob) {
    batch.append(job)
    batchBytes += job.record.job.payload.utf8.count + (job.output.map { 2 * $0.stdout.count + $0.stderr.count } ?? 0)
  }

  private mutating func writeBatch() async {
    let jobs = batch
    (batch, batchBytes) = ([], 0)
    guard !jobs.isEmpty else { return }
    for (job, result) in zip(jobs, await store.put(jobs)) {
      let id = job.record.job.id
      switch result {
      case .success(let creation):
        if creation.isNew { summary.jobs += 1 } else { summary.presentJobs += 1 }
        // Also of one that was there: the import that put it there may have been interrupted.
        if job.record.status == .queued { runnersInLine.insert(job.record.job.runner) }
      case .failure(.conflict): summary.addConflict("job \(id)")
      case .failure(let error): summary.refusal = summary.refusal ?? error
      }
    }
  }

  private mutating func register() async {
    do throws(JobStoreError) {
      var present: [RunnerName: QueueName] = [:]
      for runner in try await store.runners() { present[runner.name] = runner.queue }
      for runner in runners {
        if let queue = present[runner.name] {
          if queue == runner.queue { summary.presentRunners += 1 } else { summary.addConflict("runner \(runner.name)") }
        } else {
          try await store.jobs.save(runner)
          summary.runners += 1
        }
      }
    } catch {
      summary.refusal = error
    }
  }
}

/// What an import has done.
struct ImportSummary {
  var runners = 0
  var jobs = 0
  /// The same ones were there before.
  var presentRunners = 0
  var presentJobs = 0
  /// What was left out, as something else of that name is there.
  private(set) var conflicts = 0
  /// The first of these.
  private(set) var firstConflicts: [String] = []
  var damage: ExportDamage?
  /// Why the store took no more.
  var refusal: JobStoreError?

  mutating func addConflict(_ name: String) {
    conflicts += 1
    if firstConflicts.count < 10 { firstConflicts.append(name) }
  }
}
