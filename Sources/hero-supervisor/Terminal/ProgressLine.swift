import Glibc

/// One line on a terminal that says what is going on, redrawn in place and wiped at the end. On anything but a
/// terminal it says nothing.
struct ProgressLine: ~Copyable {
  private let isShown: Bool
  private var isDrawn = false

  /// Erases from the cursor to the end of its line (ECMA-48, EL).
  static let wipe = "\u{1B}[K"

  init(isShown: Bool = StandardStreams.errorIsTerminal) { self.isShown = isShown }

  mutating func show(_ text: String) {
    guard isShown else { return }
    var size = winsize()
    let columns = ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
    StandardStreams.error(Array("\r\(text.printable().prefix(columns - 1))\(Self.wipe)".utf8))
    isDrawn = true
  }

  mutating func clear() {
    guard isDrawn else { return }
    StandardStreams.error(Array("\r\(Self.wipe)".utf8))
    isDrawn = false
  }

  /// Elapsed time for people: `4.2 s`, `3 min 07 s`, `2 h 05 min`.
  static func elapsed(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    if seconds < 60 { return "\(seconds).\(attoseconds / 100_000_000_000_000_000) s" }
    func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
    if seconds < 3600 { return "\(seconds / 60) min \(two(seconds % 60)) s" }
    return "\(seconds / 3600) h \(two(seconds / 60 % 60)) min"
  }
}
