import Glibc

/// A line of the report, at once: runs take minutes.
func report(_ columns: Any...) {
  print(columns.map { "\($0)" }.joined(separator: "\t"))
  fflush(nil)
}
