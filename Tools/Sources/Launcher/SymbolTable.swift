import Foundation

/// Names the code addresses of an image, with the toolchain's llvm-symbolizer.
public struct SymbolTable: Sendable {
    private let file: String

    /// The symbols in an ELF file; addresses stay numbers if it has none.
    public init(of file: String) { self.file = file }

    /// The functions at each of these addresses, inlined ones first, each with file and line.
    public func frames(at addresses: [UInt64]) -> [[String]] {
        let unknown = addresses.map { _ in [String]() }
        guard !addresses.isEmpty, let program = Command.findTool("llvm-symbolizer"),
            FileManager.default.fileExists(atPath: file),
            let ended = try? Command.capture(
                program,
                ["--obj=\(file)", "--inlines", "--pretty-print"]
                    + addresses.map { "0x" + String($0, radix: 16) },
                limit: 20),
            ended.status == 0
        else { return unknown }
        // An empty line ends each address.
        let answers = ended.output.components(separatedBy: "\n\n").map { answer in
            answer.split(separator: "\n").map(String.init)
                .map { $0.replacingOccurrences(of: " (inlined by) ", with: "") }
                .filter { !$0.hasPrefix("??") }
        }
        guard answers.count >= addresses.count else { return unknown }
        return demangled(frames: Array(answers.prefix(addresses.count)))
    }

    /// Which of `words` are return addresses: they point into text, right behind a call.
    ///
    /// Not every function of a guest keeps a frame pointer, so this is how a stack is read: what a
    /// returned function has left there is taken for a caller, too.
    func returnAddresses(in words: [UInt64]) -> [UInt64] {
        guard let image = try? HostFile.contents(file),
            let text = TextSection(of: [UInt8](image))
        else { return [] }
        return words.filter(text.isBehindCall)
    }

    /// The frames with their functions' names as the source spells them.
    private func demangled(frames: [[String]]) -> [[String]] {
        let places = frames.map { frames in
            frames.map { frame -> (name: String, place: String) in
                guard let end = frame.range(of: " at ") else { return (frame, "") }
                return (String(frame[..<end.lowerBound]), String(frame[end.lowerBound...]))
            }
        }
        var names = demangled(places.flatMap { $0.map(\.name) })[...]
        return places.map { $0.map { names.removeFirst() + $0.place } }
    }

    /// Symbols' names as the source spells them, all from one run of swift-demangle.
    func demangled(_ names: [String]) -> [String] {
        let mangled = Array(Set(names.filter { $0.hasPrefix("$") }))
        guard !mangled.isEmpty, let program = Command.findTool("swift-demangle"),
            let ended = try? Command.capture(
                program, ["-compact", "-simplified"] + mangled, limit: 20),
            ended.status == 0
        else { return names }
        let plain = ended.output.split(separator: "\n", omittingEmptySubsequences: false)
        guard plain.count >= mangled.count else { return names }
        let table = Dictionary(uniqueKeysWithValues: zip(mangled, plain.map(String.init)))
        return names.map { table[$0] ?? $0 }
    }
}

extension PanicReport {
    /// The report for a person: cause, where, and the callers that wait.
    public func description(symbols: SymbolTable) -> String {
        var lines = ["the guest panicked: \(cause)"]
        let words = stack.sorted { $0.key < $1.key }.map(\.value)
        let callers = symbols.returnAddresses(in: words).prefix(PanicReport.callerLimit)
        let addresses = (register("rip").map { [$0] } ?? []) + callers.map { $0 - 1 }
        let now = symbols.frames(at: addresses)
        for (index, frames) in now.enumerated() {
            // Below a job there is only the run loop.
            if frames.contains(where: { $0.contains("swift_job_run") || $0.contains("runJobIn") }) {
                break
            }
            lines += PanicReport.lines(index == 0 ? "at" : "called by", addresses[index], frames)
        }
        for (address, frames) in zip(asyncCallers, symbols.frames(at: asyncCallers)) {
            lines += PanicReport.lines("awaited by", address, frames)
        }
        lines += registerLines
        if !isComplete { lines.append("  (the report is cut short)") }
        return lines.joined(separator: "\n")
    }

    private static func lines(_ word: String, _ address: UInt64, _ frames: [String]) -> [String] {
        // What has no place in a source file is the compiler's or the runtime's, and says nothing
        // to a reader, unless it is all there is.
        let written = frames.filter { !$0.contains("compiler-generated>") && !$0.contains(":0:0") }
        if written.isEmpty, word == "awaited by", !frames.isEmpty { return [] }
        let names =
            !written.isEmpty
            ? written : frames.isEmpty ? ["0x" + String(address, radix: 16)] : frames
        return names.enumerated().map { "  \($0 == 0 ? word : "in") \($1)" }
    }

    /// The most callers that are read from the stack.
    private static let callerLimit = 16

    private var registerLines: [String] {
        var lines: [String] = []
        for (index, register) in registers.enumerated() {
            let text = "\(register.name) 0x" + String(register.value, radix: 16)
            if index % 4 == 0 {
                lines.append("  " + text)
            } else {
                lines[lines.count - 1] += "  " + text
            }
        }
        return lines
    }
}

/// The bytes of an image's code.
struct TextSection {
    private let start: UInt64
    private let bytes: ArraySlice<UInt8>

    /// The first section that may be executed; nil if the file is no ELF image that has one.
    init?(of image: [UInt8]) {
        guard
            let text = ELFImage(image)?.sections.first(where: { $0.type == 1 && $0.flags & 4 != 0 }
            ),
            text.size <= image.count, text.offset <= UInt64(image.count) - text.size
        else { return nil }
        start = text.address
        bytes = image[Int(text.offset)..<Int(text.offset + text.size)]
    }

    /// Whether the instruction in front of `address` can be a call (SDM volume 2, CALL): E8 with
    /// four bytes, or FF /2 with two to seven in all.
    func isBehindCall(_ address: UInt64) -> Bool {
        guard address >= start, address - start <= bytes.count else { return false }
        let place = bytes.startIndex + Int(address - start)
        if place - 5 >= bytes.startIndex, bytes[place - 5] == 0xe8 { return true }
        for length in 2...7 where place - length >= bytes.startIndex {
            if bytes[place - length] == 0xff, bytes[place - length + 1] & 0x38 == 0x10 {
                return true
            }
        }
        return false
    }
}
