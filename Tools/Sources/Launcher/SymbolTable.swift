import Foundation

/// Names the code addresses of an image, with the toolchain's llvm-symbolizer.
public struct SymbolTable: Sendable {
    private let file: String

    /// The symbols in an ELF file; addresses stay numbers if it has none.
    public init(of file: String) { self.file = file }

    /// The functions at an address, inlined ones first, each with file and line.
    public func frames(at address: UInt64) -> [String] {
        guard let program = Command.find("llvm-symbolizer"),
            FileManager.default.fileExists(atPath: file),
            let ended = try? Command.capture(
                program,
                [
                    "--obj=\(file)", "--inlines", "--pretty-print",
                    "0x" + String(address, radix: 16),
                ],
                limit: 20),
            ended.status == 0
        else { return [] }
        return ended.output.split(separator: "\n").map(String.init)
            .map { $0.replacingOccurrences(of: " (inlined by) ", with: "") }
            .filter { !$0.hasPrefix("??") }.map(demangled)
    }

    /// The frame with its function's name as the source spells it.
    private func demangled(_ frame: String) -> String {
        guard frame.hasPrefix("$"), let end = frame.range(of: " at "),
            let program = Command.find("swift-demangle"),
            let ended = try? Command.capture(
                program, ["-compact", "-simplified", String(frame[..<end.lowerBound])], limit: 20),
            ended.status == 0
        else { return frame }
        return ended.output.trimmingCharacters(in: .newlines) + frame[end.lowerBound...]
    }
}

extension PanicReport {
    /// The report for a person: cause, where, and the callers that wait.
    public func description(symbols: SymbolTable) -> String {
        var lines = ["the guest panicked: \(cause)"]
        if let address = register("rip") { lines += frames("at", address, symbols) }
        for caller in asyncCallers { lines += frames("awaited by", caller, symbols) }
        lines += registerLines
        if !isComplete { lines.append("  (the report is cut short)") }
        return lines.joined(separator: "\n")
    }

    private func frames(_ word: String, _ address: UInt64, _ symbols: SymbolTable) -> [String] {
        let names = symbols.frames(at: address)
        let number = "0x" + String(address, radix: 16)
        return (names.isEmpty ? [number] : names).enumerated().map { index, name in
            "  \(index == 0 ? word : "in") \(name)"
        }
    }

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
