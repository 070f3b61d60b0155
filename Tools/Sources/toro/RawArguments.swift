import Launcher

/// The words of the command line, of which the standard library's `CommandLine.arguments` spoils
/// those that are no UTF-8: see ``RawText``.
enum RawArguments {
    /// All but the program's name.
    static var all: [String] {
        var words: [String] = []
        for index in 1..<max(1, Int(CommandLine.argc)) {
            // SAFETY: argc pointers to C strings are there for as long as the process lives.
            guard let word = unsafe CommandLine.unsafeArgv[index] else { break }
            var bytes: [UInt8] = []
            var at = unsafe word
            while unsafe at.pointee != 0 {
                bytes.append(unsafe UInt8(bitPattern: at.pointee))
                unsafe at += 1
            }
            words.append(RawText.string(of: bytes))
        }
        return words
    }
}
