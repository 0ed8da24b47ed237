# Provision one tree: start a container from an image, let Ansible work in it, keep its whole file system or what changed.
# Packer 1.6 reads this file alone; later ones read the folder, where plugins.pkr.hcl names the plugins.

variable "image" {
  type        = string
  description = "The image to start from; loaded into the engine beforehand, never pulled."
}

variable "playbook" {
  type        = string
  description = "The playbook to run, an absolute path."
}

variable "ansible_playbook" {
  type        = string
  default     = "ansible-playbook"
  description = "The ansible-playbook command to use."
}

variable "variables" {
  type        = string
  description = "A JSON file with the variables of the roles."
}

variable "volumes" {
  type        = map(string)
  default     = {}
  description = "Host path to path in the container: package files, data sets and labs, read-only."
}

variable "label" {
  type        = string
  default     = "org.coursebox.build"
  description = "Marks the container, so that a later build can remove it if this one is killed."
}

variable "processors" {
  type        = string
  default     = ""
  description = "Which processors the container may use; all when empty."
}

variable "export" {
  type        = string
  default     = ""
  description = "Where the tar of the whole file system goes; none when empty."
}

variable "changes" {
  type        = string
  default     = ""
  description = "The folder for what changed, and only that; used when there is no export."
}

variable "python" {
  type        = string
  default     = "python3"
  description = "The builder's Python, which reads the changes."
}

source "docker" "tree" {
  image       = var.image
  pull        = false
  export_path = var.export
  discard     = var.export == ""
  volumes     = var.volumes
  run_command = [
    "--detach", "--interactive", "--tty",
    "--network", "none",
    "--hostname", "coursebox",
    "--label", var.label,
    "--cpuset-cpus", var.processors,
    "--entrypoint", "/bin/sh",
    "--", "{{.Image}}",
  ]
}

build {
  sources = ["source.docker.tree"]

  provisioner "ansible" {
    command       = var.ansible_playbook
    playbook_file = var.playbook
    use_proxy     = false
    user          = "root"
    extra_arguments = [
      "--connection", "community.docker.docker",
      "--extra-vars", "ansible_host=${build.ID}",
      "--extra-vars", "@${var.variables}",
    ]
  }

  provisioner "shell-local" {
    inline = ["[ -z '${var.changes}' ] || '${var.python}' -m coursebox.trees.diff '${build.ID}' '${var.changes}'"]
  }
}
