import JSONRPC
import Supervisor
import Testing

@testable import hero_supervisor

/// The lines of an export, to the byte: an export of this version is read by every later one.
@Suite("Exports: written bytes", .timeLimit(.minutes(5)))
struct ExportBytesTests {
  private func isWritten(
    _ line: ExportLine, _ text: String, _ location: SourceLocation = #_sourceLocation
  ) throws {
    #expect(line.json.text == text, sourceLocation: location)
    let read = try ExportLine(parsing: ArraySlice(text.utf8))
    #expect(read.json.text == text, sourceLocation: location)
  }

  private func job(
    _ status: JobStatus, startedAt: Timestamp? = nil, completedAt: Timestamp? = nil, result: JobResult? = nil
  ) -> JobRecord {
    JobRecord(
      job: Job(
        id: JobID(trusted: "j"), callerID: "me", contextID: "tour", payload: "echo é\n",
        runner: RunnerName(trusted: "r"),
        executor: .shell, timeoutSeconds: 2.5, environment: ["B": "2", "A": "1"]),
      status: status, attempt: 2, createdAt: Timestamp(milliseconds: 1), updatedAt: Timestamp(milliseconds: 2),
      startedAt: startedAt, completedAt: completedAt, result: result)
  }

  private static let job =
    #""id":"j","runner":"r","executor":"shell","caller_id":"me","context_id":"tour","payload":"echo é\n","timeout":2.5,"#
    + #""env_vars":{"A":"1","B":"2"}"#
  private static let dates = #""created_at":"1970-01-01T00:00:00.001Z","updated_at":"1970-01-01T00:00:00.002Z""#
  private static let ended =
    #""started_at":"1970-01-01T00:00:00.003Z","completed_at":"1970-01-01T00:00:00.004Z""#

  @Test("of a job that waits, of one that completed, and of one that failed")
  func jobs() throws {
    try isWritten(
      .job(ExportedJob(record: job(.queued), output: nil)),
      #"{"job":{\#(Self.job),"status":"queued","attempt":2,\#(Self.dates)}}"#)
    let (started, completed) = (Timestamp(milliseconds: 3), Timestamp(milliseconds: 4))
    let success = job(.completed, startedAt: started, completedAt: completed, result: .success("out"))
    try isWritten(
      .job(ExportedJob(record: success, output: JobOutput(stdout: Array("out".utf8)))),
      #"{"job":{\#(Self.job),"status":"completed","attempt":2,\#(Self.dates),\#(Self.ended),"success":"out"}}"#)
    let failure = job(.failed, startedAt: started, completedAt: completed, result: .error("late"))
    let output = JobOutput(stdout: [0, 255], stderr: [10], stdoutDropped: 1, stderrDropped: 2)
    try isWritten(
      .job(ExportedJob(record: failure, output: output)),
      #"{"job":{\#(Self.job),"status":"failed","attempt":2,\#(Self.dates),\#(Self.ended),"error":"late","#
        + #""stdout":"AP8=","stderr":"Cg==","stdout_dropped":1,"stderr_dropped":2}}"#)
  }

  @Test("of a runner, of a checkpoint, and of the end")
  func others() throws {
    try isWritten(
      .runner(
        RegisteredRunner(
          name: RunnerName(trusted: "r"), queue: QueueName(trusted: "q"), isStopped: true, epoch: 258,
          newOwner: NodeName(trusted: "n"))),
      #"{"runner":{"name":"r","queue":"q","stopped":true,"epoch":258,"new_owner":"n"}}"#)
    try isWritten(
      .checkpoint(
        ExportCheckpoint(runners: 1, jobs: 2, position: ExportPosition(.inLine, place: [3, 4]), checksum: "ab")),
      #"{"checkpoint":{"runners":1,"jobs":2,"position":"in-line:3:4","sha256":"ab"}}"#)
    try isWritten(
      .end(ExportCheckpoint(runners: 1, jobs: 2, checksum: "ab")), #"{"end":{"runners":1,"jobs":2,"sha256":"ab"}}"#)
  }

  @Test("of the header")
  func header() throws {
    let store = StoreIdentity(kind: .sqlite, instance: "i")
    try isWritten(
      .header(ExportHeader(createdAt: Timestamp(milliseconds: 1), store: store)),
      #"{"format":"hero-supervisor-export","version":1,"created_at":"1970-01-01T00:00:00.001Z","#
        + #""program":"\#(HeroSupervisor.version)","store":{"kind":"sqlite","instance":"i"}}"#)
  }
}
