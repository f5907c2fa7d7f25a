import Supervisor

/// Writes a store into a file, a page at a time, from its beginning or from a checkpoint.
struct ExportRun {
  private let store: MovableStore
  private let file: ExportFile
  private let seal: ExportSeal
  private var position: ExportPosition?
  private(set) var runnerCount: Int
  private(set) var jobCount: Int
  /// Whether the header and the runners are still to be written.
  private let isNew: Bool

  /// Jobs in a page at most, and about how many bytes: what is in memory at a time, and lost when it is broken off.
  private static let pageJobs = 5000
  private static let pageBytes = 4 << 20

  init(_ store: MovableStore, into file: ExportFile, after beginning: ExportFile.Beginning?) {
    self.store = store
    self.file = file
    isNew = beginning == nil
    seal = beginning?.seal ?? ExportSeal()
    position = beginning.map(\.checkpoint.position) ?? .start
    runnerCount = beginning?.checkpoint.runners ?? 0
    jobCount = beginning?.checkpoint.jobs ?? 0
  }

  mutating func run() async throws {
    var progress = ProgressLine()
    if isNew {
      let runners = try await store.runners()
      runnerCount = runners.count
      try write([.header(ExportHeader(createdAt: .now, store: store.identity))] + runners.map { .runner($0) })
    }
    while let from = position {
      let page = try await store.jobs.export(from: from, limit: Self.pageJobs, maximumBytes: Self.pageBytes)
      jobCount += page.jobs.count
      position = page.next
      try write(page.jobs.map { .job($0) }, isWhole: true)
      progress.show("\(jobCount) jobs")
    }
    progress.clear()
    try file.close()
  }

  /// - Parameter isWhole: whether a checkpoint follows, or the end.
  private func write(_ lines: [ExportLine], isWhole: Bool = false) throws(CommandFailure) {
    var bytes: [UInt8] = []
    for line in lines { seal.append(line.json, to: &bytes) }
    if isWhole {
      let checkpoint = ExportCheckpoint(
        runners: runnerCount, jobs: jobCount, position: position, checksum: seal.text)
      seal.append((position == nil ? ExportLine.end(checkpoint) : .checkpoint(checkpoint)).json, to: &bytes)
    }
    try file.write(bytes)
  }
}
