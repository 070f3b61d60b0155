import Foundation

/// One figure of a run.
struct Figure: Codable {
    /// What was measured.
    var name: String
    /// The median of the samples, or the one exact value.
    var value: Double
    /// The unit.
    var unit: String
    /// The samples in the order they were taken; empty for an exact value.
    var samples: [Double] = []
    /// The figure it is compared with, and value divided by that one's.
    var baseline: String?
    var ratio: Double?
}

/// The figures of a run.
struct Report: Codable {
    private(set) var figures: [Figure] = []

    /// Adds an exact value.
    mutating func add(_ name: String, _ value: Double, _ unit: String) {
        note(Figure(name: name, value: value, unit: unit))
    }

    /// Adds the median of samples, as a ratio to an earlier figure if one is named.
    mutating func add(
        _ name: String, samples: [Double], _ unit: String, baseline: String? = nil
    ) {
        let sorted = samples.sorted()
        guard !sorted.isEmpty else { return }
        let middle = sorted.count / 2
        let median =
            sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
        var figure = Figure(name: name, value: median, unit: unit, samples: samples)
        if let baseline, let other = figures.first(where: { $0.name == baseline }), other.value > 0
        {
            figure.baseline = baseline
            figure.ratio = median / other.value
        }
        note(figure)
    }

    private mutating func note(_ figure: Figure) {
        figures.append(figure)
        FileHandle.standardError.write(Data("\(Report.line(figure))\n".utf8))
    }

    /// The figures as a table, in Markdown.
    var table: String {
        let rows = figures.map { figure in
            let ratio = figure.ratio.map { String(format: "%.2f × ", $0) + (figure.baseline ?? "") }
            return "| \(figure.name) | \(Report.number(figure.value)) \(figure.unit) | "
                + "\(figure.samples.count > 1 ? "median of \(figure.samples.count)" : "") | "
                + "\(ratio ?? "") |"
        }
        return (["| Figure | Value | Samples | Ratio |", "|---|---|---|---|"] + rows)
            .joined(separator: "\n")
    }

    private static func line(_ figure: Figure) -> String {
        "\(figure.name): \(number(figure.value)) \(figure.unit)"
    }

    private static func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15
            ? String(Int(value)) : String(format: value < 10 ? "%.3f" : "%.1f", value)
    }
}
