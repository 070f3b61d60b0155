import ArgumentParser
import Foundation
import Launcher

struct Build: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Builds a package's image.",
        discussion: """
            For debug unless -c release is given: a release image is smaller and faster, and what \
            is meant to be shipped. The same sources give the same bytes, wherever they are. With -o IMAGE, the image with \
            its symbols is written to IMAGE.debug: kept beside the image, it gives a panic's \
            functions and lines to toro run IMAGE.
            """)

    @Argument(help: "The package's folder.") var path: String
    @Option(name: .shortAndLong, help: "Where the image goes: a file, or a folder that exists.")
    var output: String?
    @Option(name: .shortAndLong, help: "debug or release.")
    var configuration = BuildConfiguration.debug
    @Option(help: "The executable product; by default what toro.json or the folder names.")
    var product: String?

    func run() throws {
        try Toro.reporting {
            let image = try Toro.build(try Toro.absolute(path), product: product, configuration)
            let target = try output.map { try image.export(to: $0) }
            print("\(target ?? image.path): \(image.size) bytes, \(configuration)")
            if let target { print("\(target).debug: the same with symbols, for panic reports") }
            return 0
        }
    }
}

extension BuildConfiguration: ExpressibleByArgument {}

extension Toro {
    /// Builds the image of a package's folder, and says so if that takes long.
    static func build(
        _ folder: String, product: String? = nil, _ configuration: BuildConfiguration,
        quiet: Bool = false
    ) throws -> Image {
        let builder = ImageBuild(root: try root, configuration: configuration)
        if quiet { return try builder.build(package: folder, product: product) }
        let name = URL(fileURLWithPath: folder).lastPathComponent + " for \(configuration)"
        if let progress = Progress("building \(name)") {
            defer { progress.clear() }
            return try builder.build(package: folder, product: product, onOutput: progress.take)
        }
        let timer = DispatchSource.makeTimerSource()
        timer.schedule(deadline: .now() + 2)
        timer.setEventHandler { say("building \(name)") }
        timer.resume()
        defer { timer.cancel() }
        return try builder.build(package: folder, product: product)
    }
}
