import Glibc

/// Why an export cannot be read on.
enum ExportDamage: Error, Equatable, CustomStringConvertible {
  /// A line is not what was written, or does not follow on the lines before. Lines count from 1.
  case line(Int, String)
  /// It ends after so many whole lines, without its last one.
  case brokenOff(after: Int)
  case unreadable(FileBytes.Failure)

  var description: String {
    switch self {
    case .line(let number, let reason): "line \(number) \(reason)"
    case .brokenOff(let count): "it is broken off after line \(count)"
    case .unreadable(let failure): "\(failure.path): \(failure.reason)"
    }
  }
}

/// Reads an export line by line; what it answers was checked together with all lines before.
struct ExportReader {
  private var lines: LineReader
  let seal = ExportSeal()
  /// Whole lines, and their bytes, so far.
  private(set) var lineCount = 0
  private(set) var byteCount = 0
  private(set) var runnerCount = 0
  private(set) var jobCount = 0
  private(set) var isComplete = false

  init(_ descriptor: Int32, named path: String) { lines = LineReader(descriptor, named: path) }

  /// The next line; `nil` after the last.
  mutating func next() throws(ExportDamage) -> ExportLine? {
    let bytes: ArraySlice<UInt8>?
    do throws(FileBytes.Failure) { bytes = try lines.next() } catch { throw .unreadable(error) }
    guard let bytes else {
      guard isComplete else { throw .brokenOff(after: lineCount) }
      return nil
    }
    let number = lineCount + 1
    guard !isComplete else { throw .line(number, "comes after the end") }
    if number == 1, !Self.mayBegin(bytes) { throw .line(1, "is not the beginning of an export") }
    guard bytes.last == UInt8(ascii: "\n") else { throw .brokenOff(after: lineCount) }
    let checksum = seal.text
    guard seal.accepts(bytes) else { throw .line(number, "is damaged, or lines before it are missing") }
    let line: ExportLine
    do throws(ExportLineError) {
      line = try ExportLine(parsing: bytes)
      try count(line, checksum)
    } catch {
      throw .line(number, error.reason)
    }
    lineCount = number
    byteCount += bytes.count
    return line
  }

  /// Whether these are the first bytes of an export, perhaps not all of them.
  static func mayBegin(_ bytes: ArraySlice<UInt8>) -> Bool {
    let beginning = #"{"format":"\#(ExportHeader.format)""#.utf8
    return bytes.starts(with: beginning) || (bytes.count < beginning.count && beginning.starts(with: bytes))
  }

  /// - Parameter checksum: of all lines before.
  private mutating func count(_ line: ExportLine, _ checksum: String) throws(ExportLineError) {
    switch line {
    case .header: guard lineCount == 0 else { throw ExportLineError(reason: "is a second header") }
    case .runner: runnerCount += 1
    case .job: jobCount += 1
    case .checkpoint(let written), .end(let written):
      guard written.runners == runnerCount, written.jobs == jobCount, written.checksum == checksum else {
        throw ExportLineError(reason: "does not say what stands before it")
      }
      if case .end = line { isComplete = true }
    }
    guard lineCount > 0 || runnerCount + jobCount == 0 else { throw ExportLineError(reason: "is not a header") }
  }
}
