# The workflow's table of contents is workflow/Snakefile.
include: "workflow/Snakefile"


workflow.default_target = "all"  # an included file does not choose it
