import ArgumentParser
import Foundation
import Launcher

struct Size: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Says where the bytes of a package's image are.",
        discussion: """
            Builds the package if needed, for release unless -c debug is given. Fails if the \
            release image is over the budget in the package's size-budget.json: {"bytes": 48000}.
            """)

    @Argument(help: "The package's folder.") var path: String
    @Option(help: "The executable product; by default what toro.json or the folder names.")
    var product: String?
    @Option(name: .shortAndLong, help: "debug or release.")
    var configuration = BuildConfiguration.release
    @Option(help: "How many of the largest symbols to list.") var top = 10
    @Flag(help: "Prints JSON.") var json = false

    func run() throws {
        try Toro.reporting {
            let folder = try Toro.absolute(path)
            let image = try Toro.build(folder, product: product, configuration)
            let size = try ImageSize(of: image, top: max(top, 0))
            let budget = configuration == .release ? try SizeBudget(package: folder) : nil
            if json {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
                print(String(decoding: try encoder.encode(size), as: UTF8.self))
            } else {
                printTable(size, budget)
            }
            return try check(size, budget)
        }
    }

    private func check(_ size: ImageSize, _ budget: SizeBudget?) throws -> Int32 {
        guard let budget else { return 0 }
        if size.bytes > budget.bytes {
            throw LaunchError(
                "over budget: \(size.bytes) bytes, and \(budget.bytes) are allowed", status: 1)
        }
        return 0
    }

    private func printTable(_ size: ImageSize, _ budget: SizeBudget?) {
        let limit = budget.map { " of \($0.bytes) that are allowed" } ?? ""
        print("\(configuration): \(size.bytes) bytes\(limit), \(size.symbols) symbols")
        printParts("sections", size.sections)
        printParts("units", size.units)
        if top > 0 { printParts("largest symbols", size.largest, counts: false) }
    }

    private func printParts(_ title: String, _ parts: [ImageSize.Part], counts: Bool = true) {
        print("\n   bytes  \(counts ? "symbols  " : "")\(title)")
        for part in parts {
            let count = counts ? column(part.symbols, 7) + "  " : ""
            print(column(part.bytes, 8) + "  " + count + part.name)
        }
    }

    private func column(_ number: Int, _ width: Int) -> String {
        let text = String(number)
        return String(repeating: " ", count: max(0, width - text.count)) + text
    }
}
