import Foundation

/// The commands of a build, as SwiftPM writes them down for llbuild.
struct BuildManifest {
    /// A command: what it reads, what it writes, and its words if it is a program.
    struct Command {
        var inputs: [String] = []
        var outputs: [String] = []
        var arguments: [String] = []
    }

    private(set) var commands: [String: Command] = [:]
    private let producers: [String: String]
    /// What SwiftPM plans again for: folders, with a slash at the end, and files.
    private(set) var structure: [String] = []

    /// Reads the manifest's text; nil if it is not as SwiftPM 6.3 writes it: names and keys at fixed
    /// indentations, lists in JSON.
    init?(_ text: String) {
        var name: String?
        var isPlanning = false
        var isInCommands = false
        for line in text.split(separator: "\n") {
            if line.first != " " {
                isInCommands = line == "commands:"
            } else if isInCommands, line.hasPrefix("  \""), line.hasSuffix("\":") {
                let quoted = Data(line.dropFirst(2).dropLast().utf8)
                guard let word = try? JSONDecoder().decode(String.self, from: quoted) else {
                    return nil
                }
                name = word
                commands[word] = Command()
                isPlanning = false
            } else if isInCommands, let name {
                let line = line.drop { $0 == " " }
                if line == "tool: package-structure-tool" { isPlanning = true }
                for (key, field) in BuildManifest.fields where line.hasPrefix(key) {
                    let list = Data(line.dropFirst(key.count).utf8)
                    guard let words = try? JSONDecoder().decode([String].self, from: list) else {
                        return nil
                    }
                    commands[name]?[keyPath: field] = words
                    if isPlanning, key == "inputs: " { structure = words }
                }
            }
        }
        var producers: [String: String] = [:]
        for (name, command) in commands {
            for output in command.outputs { producers[output] = name }
        }
        self.producers = producers
        if commands.isEmpty { return nil }
    }

    private static var fields: [(String, WritableKeyPath<Command, [String]>)] {
        [("inputs: ", \.inputs), ("outputs: ", \.outputs), ("args: ", \.arguments)]
    }

    /// The command that makes the file at `path`, followed by those that make what it needs, each
    /// after what it needs itself, and the files that none of them makes.
    func commands(for path: String) -> (commands: [(name: String, Command)], sources: Set<String>) {
        var order: [(name: String, Command)] = []
        var seen: Set<String> = []
        var sources: Set<String> = []
        func visit(_ path: String) {
            guard let name = producers[path], let command = commands[name] else {
                sources.insert(path)
                return
            }
            guard seen.insert(name).inserted else { return }
            command.inputs.forEach(visit)
            order.append((name, command))
        }
        visit(path)
        return (order, sources)
    }
}
