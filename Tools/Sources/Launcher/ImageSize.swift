import Foundation

/// The most an image may have, from the file `size-budget.json` beside a Package.swift.
public struct SizeBudget: Codable, Equatable, Sendable {
    /// The bytes of the stripped release image.
    public var bytes: Int

    /// The budget of the package in `folder`; nil if it has none.
    public init?(package folder: String) throws(LaunchError) {
        let path = folder + "/size-budget.json"
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        guard let budget = try? JSONDecoder().decode(SizeBudget.self, from: data) else {
            throw .usage("\(path) must hold {\"bytes\": NUMBER}")
        }
        self = budget
    }
}

/// Where the bytes of an image are.
public struct ImageSize: Codable, Equatable, Sendable {
    /// Bytes and symbols of one unit: a Swift module, a library, or a language.
    public struct Part: Codable, Equatable, Sendable {
        /// The unit's name.
        public var name: String
        /// Its bytes in the image.
        public var bytes: Int
        /// Its functions and objects.
        public var symbols: Int
    }

    /// The bytes of the stripped image.
    public var bytes: Int
    /// The functions and objects whose bytes are in the image.
    public var symbols: Int
    /// The sections that are loaded, zeros included.
    public var sections: [Part]
    /// The units, the largest first.
    public var units: [Part]
    /// The largest functions and objects.
    public var largest: [Part]

    /// Measures an image with its symbols; names the `top` largest.
    public init(of image: Image, top: Int = 10) throws(LaunchError) {
        guard let file = try? HostFile.contents(image.symbols),
            let elf = ELFImage([UInt8](file))
        else { throw LaunchError("cannot read \(image.symbols)") }
        let known = elf.symbols
        let all = known.filter(\.isInFile)
        bytes = image.size
        symbols = all.count
        sections = elf.sections.filter { $0.flags & 2 != 0 && $0.size > 0 }.map { section in
            Part(
                name: section.type == 8 ? section.name + " (zeros, not in the file)" : section.name,
                bytes: Int(section.size),
                symbols: known.count {
                    $0.address >= section.address && $0.address - section.address < section.size
                })
        }
        let modules = Set(all.compactMap { ImageSize.simpleModule($0.name) })
        var units: [String: Part] = [:]
        for symbol in all {
            let unit = ImageSize.unit(of: symbol.name, modules)
            units[unit, default: Part(name: unit, bytes: 0, symbols: 0)].bytes += symbol.size
            units[unit]?.symbols += 1
        }
        self.units = units.values.sorted { ($1.bytes, $0.name) < ($0.bytes, $1.name) }
        let top = all.sorted { ($1.size, $0.name) < ($0.size, $1.name) }.prefix(top)
        let names = SymbolTable(of: image.symbols).demangled(top.map(\.name))
        largest = zip(top, names).map { Part(name: $1, bytes: $0.size, symbols: 1) }
    }

    /// The module of a mangled name that begins with it: `$e8ToroHTTP…`.
    private static func simpleModule(_ name: String) -> String? {
        guard name.hasPrefix("$e") else { return nil }
        let rest = name.dropFirst(2)
        let digits = rest.prefix { $0.isNumber }
        guard let count = Int(digits), count > 0 else { return nil }
        let word = rest.dropFirst(digits.count).prefix(count)
        return word.count == count ? String(word) : nil
    }

    /// The unit a symbol belongs to. A specialization belongs to the first module that its name
    /// holds, which is that of the generic code or of the type it was made for.
    private static func unit(of name: String, _ modules: Set<String>) -> String {
        if let module = simpleModule(name) { return module }
        guard name.hasPrefix("$e") else {
            return name.hasPrefix("_Z") || name.hasPrefix("swift_")
                ? "Swift runtime" : "C and assembly"
        }
        var rest = Substring(name)
        while let digit = rest.firstIndex(where: \.isNumber) {
            rest = rest[digit...]
            let digits = rest.prefix { $0.isNumber }
            rest = rest.dropFirst(digits.count)
            guard let count = Int(digits), count > 0, count <= rest.count else { continue }
            let word = String(rest.prefix(count))
            if modules.contains(word) { return word }
        }
        return "Swift standard library"
    }
}
