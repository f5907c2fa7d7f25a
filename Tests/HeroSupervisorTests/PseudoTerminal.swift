import Glibc

/// A terminal of 80 columns that a program can be given, and what it wrote there (pty(7)).
final class PseudoTerminal {
  /// What the program gets.
  let slave: Int32
  private let master: Int32
  private(set) var text = ""

  struct Failure: Error { let code: Int32 }

  init() throws {
    // As openpty(3) does; Swift's Glibc has neither that nor ptsname(3).
    let unlock: UInt = 0x4004_5431
    let number: UInt = 0x8004_5430
    var locked: Int32 = 0
    var index: Int32 = 0
    master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)
    guard master >= 0, ioctl(master, unlock, &locked) == 0, ioctl(master, number, &index) == 0 else {
      throw Failure(code: errno)
    }
    slave = open("/dev/pts/\(index)", O_RDWR | O_NOCTTY | O_CLOEXEC)
    guard slave >= 0 else { throw Failure(code: errno) }
    var modes = termios()
    tcgetattr(slave, &modes)
    modes.c_oflag &= ~tcflag_t(OPOST)
    tcsetattr(slave, TCSANOW, &modes)
  }

  deinit {
    close(slave)
    close(master)
  }

  /// Reads until a text has appeared, at most two minutes, so long since the machine may be busy with something else.
  func reads(_ wanted: String) async -> Bool {
    let deadline = ContinuousClock.now + .seconds(120)
    while ContinuousClock.now < deadline {
      drain()
      if text.contains(wanted) { return true }
      try? await Task.sleep(for: .milliseconds(5))
    }
    return false
  }

  /// Takes over what was written so far.
  func drain() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(master, &buffer, buffer.count)
      if count <= 0 { return }
      text += String(decoding: buffer[..<count], as: UTF8.self)
    }
  }
}
